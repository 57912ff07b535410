"""Cuts, silence, refusals: nothing is lost, or it is told."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from mlflow_grpc import (
    MetricsNotStoredError,
    MlflowGrpcError,
    StoredMetrics,
    StreamConfig,
    UnstoredMetrics,
)
from mlflow_grpc.v1 import run_service_pb2 as pb
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import FakeServer, ack, acknowledge, limits
from tests.unit.client.stream.helpers import Gate, Open, cut_after, points


async def test_a_cut_loses_nothing(server: FakeServer, driver: Driver, start: Open) -> None:
    server.flows["StreamMetrics"] = cut_after(3)
    run = await start(linger=0)
    for number in range(50):
        await driver.call("log_metric", "loss", number, on=run)
    await driver.call("flush", on=run)
    assert set(points(server)) == {("loss", float(number), number) for number in range(50)}
    seen: dict[int, Any] = {}
    for request in server.requests("StreamMetrics"):
        # What comes again is what came before, to the last byte.
        assert seen.setdefault(request.sequence, request) == request
    assert run.stats.acked == run.stats.sent == 50
    assert run.stats.reconnects >= 1


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "RESOURCE_EXHAUSTED"])
async def test_what_may_pass_is_tried_again(
    code: str, server: FakeServer, driver: Driver, start: Open
) -> None:
    server.flows["StreamMetrics"] = cut_after(1, grpc.StatusCode[code])
    run = await start()
    await driver.call("log_metric", "loss", 1, on=run)
    await driver.call("flush", on=run)
    assert run.stats.acked == 1


async def test_a_server_says_when_to_come_back(
    server: FakeServer, driver: Driver, start: Open
) -> None:
    status = Status(code=14, message="later")
    retry = RetryInfo()
    retry.retry_delay.FromMilliseconds(50)
    status.details.add().Pack(retry)
    cut = [None]

    def flow(requests: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        if cut:
            cut.pop()
            context.abort_with_status(rpc_status.to_status(status))
        yield from acknowledge(requests, context)

    server.flows["StreamMetrics"] = flow
    run = await start()
    await driver.call("log_metric", "loss", 1, on=run)
    await driver.call("flush", on=run)
    assert run.stats.reconnects == 1


@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "UNIMPLEMENTED", "UNAUTHENTICATED", "PERMISSION_DENIED"]
)
async def test_what_cannot_pass_ends_the_stream(
    code: str, server: FakeServer, driver: Driver, start: Open, caplog: pytest.LogCaptureFixture
) -> None:
    streams = []
    cut = cut_after(1000, grpc.StatusCode[code])

    def flow(requests: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        streams.append(context)
        yield from cut(requests, context)

    server.flows["StreamMetrics"] = flow
    failed: list[MlflowGrpcError] = []
    run = await start(on_failed=failed.append, buffer_points=10)
    await driver.call("log_metric", "loss", 1, on=run)
    with pytest.raises(MetricsNotStoredError) as caught:
        await driver.call("flush", on=run)
    assert (caught.value.code.name, caught.value.dropped, caught.value.waiting) == (code, 1, 0)
    assert "cut" in str(caught.value)
    assert [error.code.name for error in failed] == [code]
    # The training loop goes on, and is told at the next flush.
    for number in range(100):
        await driver.call("log_metric", "loss", number, on=run)
    with pytest.raises(MetricsNotStoredError, match="100 points were given up"):
        await driver.call("flush", on=run)
    assert len(streams) == 1
    assert run.stats.dropped == 101
    assert "failed for good" in caplog.text


async def test_rejections_are_told_by_name(
    server: FakeServer, driver: Driver, start: Open, caplog: pytest.LogCaptureFixture
) -> None:
    def flow(requests: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        yield limits()
        for request in requests:
            bad = [index for index, metric in enumerate(request.metrics) if metric.key == "bad"]
            if bad:
                entries = pb.RejectedEntries(
                    kind="ENTRY_KIND_METRIC",
                    indexes=bad,
                    status=Status(code=3, message="no such key"),
                )
                rejection = pb.StreamRejection(sequence=request.sequence, entries=[entries])
                # Told twice, as after a cut, it counts once.
                for _ in range(2):
                    yield pb.StreamMetricsResponse(rejection=rejection)
            yield ack(request.sequence)

    server.flows["StreamMetrics"] = flow
    rejected: list[UnstoredMetrics] = []
    stored: list[StoredMetrics] = []

    def note(unstored: UnstoredMetrics) -> None:
        rejected.append(unstored)
        raise ZeroDivisionError("in a callback")

    run = await start(on_rejected=note, on_stored=stored.append)
    await driver.call("log_metrics", {"a": 1, "bad": 2, "b": 3}, 7, on=run)
    with pytest.raises(MetricsNotStoredError) as caught:
        await driver.call("flush", on=run)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.rejected, error.waiting, error.dropped) == (1, 0, 0)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "'bad' at step 7" in str(error)
    assert "no such key" in str(error)
    assert [(m.key, m.value, m.step) for m in error.rejections[0].metrics] == [("bad", 2, 7)]
    assert [unstored.metrics for unstored in rejected] == [error.rejections[0].metrics]
    assert "a callback of the stream failed" in caplog.text
    assert (run.stats.acked, run.stats.rejected) == (2, 1)
    # It was told; what follows is another matter.
    await driver.call("log_metric", "a", 4, on=run)
    await driver.call("flush", on=run)
    assert sum(message.points for message in stored) == 3


async def test_a_server_that_is_away_is_named_at_the_end(driver: Driver) -> None:
    nowhere = driver.open(
        "unix:/nonexistent/mlflow-grpc.sock", stream=StreamConfig(max_backoff=0.01)
    )
    run = await driver.call("start_run")
    lost = type(run)(nowhere, await driver.call("create_run", "0"))
    await driver.call("log_metric", "k", 1, on=lost)
    await driver.call("log_metric", "k", 2, on=lost)
    with pytest.raises(MetricsNotStoredError) as caught:
        await driver.call("flush", 0.2, on=lost)
    assert caught.value.waiting == 2
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert "not known to be stored within 0.2 s" in str(caught.value)
    with pytest.raises(MetricsNotStoredError, match="2 points"):
        await driver.call("close", 0.01, on=nowhere)
    with pytest.raises(RuntimeError, match="the client is closed"):
        await driver.call("log_metric", "k", 3, on=lost)


async def test_a_silent_server_is_left(server: FakeServer, driver: Driver, start: Open) -> None:
    gate = Gate()
    silent = [gate]
    server.flows["StreamMetrics"] = lambda requests, context: (
        silent.pop()(requests, context) if silent else acknowledge(requests, context)
    )
    run = await start(stall_timeout=0.1)
    await driver.call("log_metric", "k", 1, on=run)
    await driver.call("flush", on=run)
    assert run.stats.reconnects == 1
    assert points(server) == [("k", 1, 0)] * 2
