"""What is a point, and how points travel."""

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
    AsyncClient,
    Metric,
)
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import FakeServer, acknowledge
from tests.unit.client.stream.helpers import Open, points


async def test_points_arrive_in_order_and_once(
    server: FakeServer, driver: Driver, start: Open
) -> None:
    run = await start()
    for number in range(2500):
        await driver.call("log_metric", "loss", number, on=run)
    await driver.call("flush", on=run)
    assert points(server) == [("loss", float(number), number) for number in range(2500)]
    requests = server.requests("StreamMetrics")
    assert [request.sequence for request in requests] == list(range(1, len(requests) + 1))
    assert {request.run_id for request in requests} == {run.run_id}
    assert all(len(request.metrics) <= 1000 for request in requests)
    assert all(m.HasField("timestamp_ms") for request in requests for m in request.metrics)
    stats = run.stats
    assert (stats.queued, stats.in_flight, stats.reconnects) == (0, 0, 0)
    assert (stats.sent, stats.acked, stats.rejected, stats.dropped) == (2500, 2500, 0, 0)


async def test_steps_count_by_key(server: FakeServer, driver: Driver, start: Open) -> None:
    run = await start()
    await driver.call("log_metric", "a", 1, on=run)
    await driver.call("log_metric", "b", 1, on=run)
    await driver.call("log_metric", "a", 2, on=run)
    await driver.call("log_metric", "a", 3, 10, 99, on=run)
    await driver.call("log_metrics", {"a": 4, "b": 4}, on=run)
    await driver.call("log_metrics", [Metric("a", 5, 7, 3)], on=run)
    await driver.call("flush", on=run)
    assert points(server) == [
        ("a", 1, 0),
        ("b", 1, 0),
        ("a", 2, 1),
        ("a", 3, 10),
        ("a", 4, 11),
        ("b", 4, 1),
        ("a", 5, 3),
    ]


async def test_every_float_is_a_value(server: FakeServer, driver: Driver, start: Open) -> None:
    class Scalar:
        """As numpy and torch have them."""

        def __float__(self) -> float:
            return 2.5

    run = await start()
    for value in (math.nan, math.inf, -math.inf, Scalar(), True):
        await driver.call("log_metric", "k", value, on=run)
    await driver.call("flush", on=run)
    first, *rest = [value for _, value, _ in points(server)]
    assert math.isnan(first)
    assert rest == [math.inf, -math.inf, 2.5, 1.0]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("k", "text"), ValueError),
        (("k", None), TypeError),
        ((7, 1.0), TypeError),
        (("\ud800", 1.0), ValueError),
        (("k", 1.0, 0.5), TypeError),
        (("k", 1.0, 2**63), ValueError),
        (("k", 1.0, 0, 2**64), ValueError),
        (("k", 1.0, 0, "now"), TypeError),
    ],
    ids=repr,
)
async def test_what_is_no_point_raises_at_the_call(
    arguments: Any, error: type[Exception], server: FakeServer, driver: Driver, start: Open
) -> None:
    run = await start()
    with pytest.raises(error):
        await driver.call("log_metric", *arguments, on=run)
    key, value, *times = arguments
    with pytest.raises(error):
        await driver.call("log_metrics", {"good": 1, key: value}, *times, on=run)
    await driver.call("flush", on=run)
    assert points(server) == []


async def test_runs_of_a_client_share_its_stream(
    server: FakeServer, driver: Driver, start: Open
) -> None:
    streams = []

    def flow(requests: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        streams.append(context)
        yield from acknowledge(requests, context)

    server.flows["StreamMetrics"] = flow
    first = await start()
    second = await driver.call("start_run", on=first._client)
    for number in range(10):
        await driver.call("log_metric", "k", number, on=first)
        await driver.call("log_metric", "k", -number, on=second)
    await driver.call("flush", on=first._client)
    assert len(streams) == 1
    for run, sign in ((first, 1), (second, -1)):
        values = [
            metric.value
            for request in server.requests("StreamMetrics")
            if request.run_id == run.run_id
            for metric in request.metrics
        ]
        assert values == [sign * number for number in range(10)]
        assert run.stats.acked == 10
    assert first._client.stats.acked == 20


async def test_few_messages_are_made_of_many_points(
    server: FakeServer, driver: Driver, start: Open
) -> None:
    run = await start(linger=60)
    await driver.call("log_metric", "k", 0, on=run)
    # The first is sent at once; what follows is gathered until it is much, or is wanted.
    for number in range(1, 500):
        await driver.call("log_metric", "k", number, on=run)
    await driver.call("flush", on=run)
    assert len(server.requests("StreamMetrics")) <= 3


async def test_threads_may_share_a_run(server: FakeServer, driver: Driver, start: Open) -> None:
    run = await start(buffer_points=50)
    if driver.kind == "sync":

        def log(name: str) -> None:
            for number in range(500):
                run.log_metric(name, number)

        await asyncio.gather(*(asyncio.to_thread(log, f"k{i}") for i in range(4)))
    else:

        async def alog(name: str) -> None:
            for number in range(500):
                await run.log_metric(name, number)

        await asyncio.gather(*(alog(f"k{i}") for i in range(4)))
    await driver.call("flush", on=run)
    for i in range(4):
        steps = [step for key, _, step in points(server) if key == f"k{i}"]
        assert steps == list(range(500))


async def test_a_busy_event_loop_streams(server: FakeServer) -> None:
    arrived = threading.Event()

    def flow(requests: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        for response in acknowledge(requests, context):
            yield response
            if response.HasField("ack"):
                arrived.set()

    server.flows["StreamMetrics"] = flow
    async with AsyncClient(server.target) as client:
        run = await client.start_run()
        await run.log_metric("k", 1)
        # The loop is blocked here, as by a training step.
        assert arrived.wait(60)
