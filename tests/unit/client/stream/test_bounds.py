"""The server's limits and the client's buffer."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from mlflow_grpc import (
    BufferFullError,
    Metric,
    MetricsNotStoredError,
    StreamConfig,
)
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import FakeServer, ack, limits
from tests.unit.client.stream.helpers import Gate, Open, points


async def test_the_servers_limits_are_kept(server: FakeServer, driver: Driver, start: Open) -> None:
    gate = Gate(max_entries_per_message=10, max_messages_in_flight=2, max_message_bytes=300)
    server.flows["StreamMetrics"] = gate
    run = await start()
    await driver.call("log_metrics", [Metric("k" * 50, i, 0, i) for i in range(100)], on=run)
    await gate.wait_for(1)
    gate.open.set()
    await driver.call("flush", on=run)
    requests = server.requests("StreamMetrics")
    assert all(len(request.metrics) <= 10 for request in requests)
    assert all(request.ByteSize() <= 300 for request in requests)
    assert [step for _, _, step in points(server)] == list(range(100))


async def test_no_more_is_in_flight_than_the_server_takes(
    server: FakeServer, driver: Driver, start: Open
) -> None:
    most = 0
    unacked = 0
    changed = threading.Condition()

    def flow(requests: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        nonlocal most, unacked
        yield limits(max_messages_in_flight=3, max_entries_per_message=1)

        sequences: list[int] = []

        def read() -> None:
            nonlocal most, unacked
            for request in requests:
                with changed:
                    sequences.append(request.sequence)
                    unacked += 1
                    most = max(most, unacked)
                    changed.notify_all()

        def all_are_here() -> bool:
            return unacked == 3 or len(sequences) == 10

        reader = threading.Thread(target=read)
        reader.start()
        for _ in range(10):
            with changed:
                changed.wait_for(all_are_here)
                if not unacked:
                    break
                acked = sequences[-1]
                unacked = 0
            yield ack(acked)
        reader.join()

    server.flows["StreamMetrics"] = flow
    run = await start()
    await driver.call("log_metrics", [Metric("k", i, 0, i) for i in range(10)], on=run)
    await driver.call("flush", on=run)
    assert most == 3
    await driver.call("close", on=run._client)


async def test_a_point_larger_than_a_message_is_rejected(
    server: FakeServer, driver: Driver, start: Open
) -> None:
    gate = Gate(max_message_bytes=200)
    gate.open.set()
    server.flows["StreamMetrics"] = gate
    run = await start()
    await driver.call("log_metrics", {"a": 1, "k" * 500: 2, "b": 3}, on=run)
    with pytest.raises(MetricsNotStoredError, match="1 points were rejected") as caught:
        await driver.call("flush", on=run)
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    assert [key for key, _, _ in points(server)] == ["a", "b"]


async def test_a_full_buffer_blocks(server: FakeServer, driver: Driver, start: Open) -> None:
    gate = Gate(max_messages_in_flight=1)
    server.flows["StreamMetrics"] = gate
    run = await start(buffer_points=5)
    await driver.call("log_metric", "k", 0, on=run)
    await gate.wait_for()
    for number in range(1, 6):
        await driver.call("log_metric", "k", number, on=run)
    assert run.stats.queued == 5
    blocked = asyncio.create_task(driver.call("log_metric", "k", 6, on=run))
    done, _ = await asyncio.wait([blocked], timeout=0.05)
    assert not done
    gate.open.set()
    await blocked
    await driver.call("flush", on=run)
    assert [value for _, value, _ in points(server)] == list(range(7))
    assert run.stats.dropped == 0


async def test_more_than_the_buffer_holds_can_be_logged(
    server: FakeServer, driver: Driver, start: Open
) -> None:
    run = await start(buffer_points=7)
    await driver.call("log_metrics", [Metric("k", i, 0, i) for i in range(100)], on=run)
    await driver.call("flush", on=run)
    assert [step for _, _, step in points(server)] == list(range(100))


async def test_a_full_buffer_may_drop_the_oldest(
    server: FakeServer, driver: Driver, start: Open
) -> None:
    gate = Gate(max_messages_in_flight=1)
    server.flows["StreamMetrics"] = gate
    run = await start(buffer_points=5, when_full="drop_oldest")
    await driver.call("log_metric", "k", 0, on=run)
    await gate.wait_for()
    for number in range(1, 21):
        await driver.call("log_metric", "k", number, on=run)
    assert (run.stats.queued, run.stats.dropped) == (5, 15)
    gate.open.set()
    await driver.call("flush", on=run)
    assert [value for _, value, _ in points(server)] == [0, 16, 17, 18, 19, 20]


async def test_a_full_buffer_may_raise(server: FakeServer, driver: Driver, start: Open) -> None:
    gate = Gate(max_messages_in_flight=1)
    server.flows["StreamMetrics"] = gate
    run = await start(buffer_points=5, when_full="raise")
    await driver.call("log_metric", "k", 0, on=run)
    await gate.wait_for()
    await driver.call("log_metrics", [Metric("k", i) for i in range(1, 5)], on=run)
    with pytest.raises(BufferFullError) as caught:
        await driver.call("log_metrics", [Metric("k", i) for i in (5, 6)], on=run)
    assert caught.value.reason == "BUFFER_FULL"
    await driver.call("log_metric", "k", 5, on=run)
    gate.open.set()
    await driver.call("flush", on=run)
    assert [value for _, value, _ in points(server)] == list(range(6))


@pytest.mark.parametrize(
    "wrong",
    [
        {"buffer_points": 0},
        {"when_full": "explode"},
        {"linger": -1},
        {"linger": math.inf},
        {"flush_timeout": 0},
        {"stall_timeout": math.nan},
        {"max_backoff": -1},
    ],
    ids=str,
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StreamConfig(**wrong)
