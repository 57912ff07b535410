"""Flushes and the ends of runs."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from mlflow_grpc import (
    AsyncClient,
    BufferFullError,
    Client,
    ClientConfig,
    MetricsNotStoredError,
    MlflowGrpcError,
    StreamConfig,
    UnimplementedError,
)
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import FakeServer
from tests.unit.client.stream.helpers import Gate, Open, cut_after, points


async def test_a_run_ends_after_its_points(server: FakeServer, driver: Driver) -> None:
    if driver.kind == "sync":
        with driver.client.start_run() as run:  # type: ignore[union-attr]
            for number in range(100):
                run.log_metric("k", number)
    else:
        async with driver.client.start_run() as run:  # type: ignore[union-attr]
            for number in range(100):
                await run.log_metric("k", number)
    methods = [call.method for call in server.calls]
    assert methods[0] == "StartRun"
    assert methods[-1] == "EndRun"
    assert len(points(server)) == 100


async def test_a_run_with_points_on_their_way_is_not_ended(
    server: FakeServer, driver: Driver, start: Open
) -> None:
    gate = Gate()
    server.flows["StreamMetrics"] = gate
    run = await start(flush_timeout=0.05)
    await driver.call("log_metric", "k", 1, on=run)
    with pytest.raises(MetricsNotStoredError, match="1 points are not known to be stored"):
        await driver.call("end", on=run)
    assert server.requests("EndRun") == []
    gate.open.set()
    await driver.call("flush", 60, on=run)
    await driver.call("end", on=run)
    assert len(server.requests("EndRun")) == 1


async def test_a_run_with_lost_points_is_ended_and_says_so(
    server: FakeServer, driver: Driver, start: Open
) -> None:
    server.flows["StreamMetrics"] = cut_after(1, grpc.StatusCode.UNIMPLEMENTED)
    run = await start()
    await driver.call("log_metric", "k", 1, on=run)
    with pytest.raises(MetricsNotStoredError, match="UNIMPLEMENTED"):
        await driver.call("end", on=run)
    assert len(server.requests("EndRun")) == 1


def test_callbacks_may_not_wait_for_themselves(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    stream = StreamConfig(on_stored=lambda stored: run.flush())
    with Client(server.target, config=ClientConfig(stream=stream)) as client:
        run = client.start_run()
        run.log_metric("k", 1)
    assert "a callback of the stream must not flush" in caplog.text


async def test_a_cancelled_flush_leaves_the_rest_alone(server: FakeServer) -> None:
    gate = Gate()
    server.flows["StreamMetrics"] = gate
    async with AsyncClient(server.target) as client:
        run = await client.start_run()
        await run.log_metric("k", 1)
        flush = asyncio.create_task(run.flush())
        await gate.wait_for()
        flush.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flush
        gate.open.set()
        await run.flush()
        assert run.stats.acked == 1


def test_errors_of_the_stream_are_ordinary_ones() -> None:
    assert issubclass(BufferFullError, MlflowGrpcError)
    assert issubclass(MetricsNotStoredError, MlflowGrpcError)
    assert not issubclass(MetricsNotStoredError, UnimplementedError)
