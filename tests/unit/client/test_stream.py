"""The stream of metrics over a real connection: packing, acks, cuts, limits and policies."""

from __future__ import annotations

import asyncio
import contextlib
import math
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from mlflow_grpc import (
    AsyncClient,
    BufferFullError,
    Client,
    ClientConfig,
    Metric,
    MetricsNotStoredError,
    MlflowGrpcError,
    StoredMetrics,
    StreamConfig,
    UnimplementedError,
    UnstoredMetrics,
)
from mlflow_grpc.v1 import experiment_service_pb2
from mlflow_grpc.v1 import run_service_pb2 as pb
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import FakeServer, ack, acknowledge, limits

Open = Callable[..., Any]


@pytest.fixture(autouse=True)
def runs(server: FakeServer) -> None:
    """The server starts runs `r1`, `r2`, ..."""
    ids = iter(range(1, 1000))
    server.answers["StartRun"] = lambda request, context: experiment_service_pb2.StartRunResponse(
        run={"info": {"run_id": f"r{next(ids)}"}}
    )


@pytest.fixture
async def start(driver: Driver) -> AsyncIterator[Open]:
    """Starts a run of a client with such a stream, which closes without waiting."""
    clients = []

    async def open_run(**stream: Any) -> Any:
        stream = {"max_backoff": 0.01, **stream}
        client = driver.open(stream=StreamConfig(**stream))
        clients.append(client)
        return await driver.call("start_run", on=client)

    yield open_run
    for client in clients:
        with contextlib.suppress(MetricsNotStoredError):
            await driver.call("close", 0, on=client)


def points(server: FakeServer) -> list[tuple[str, float, int]]:
    """Key, value and step of all that arrived, in order, again where it came again."""
    return [
        (metric.key, metric.value, metric.step)
        for request in server.requests("StreamMetrics")
        for metric in request.metrics
    ]


class Gate:
    """A stream that takes messages, and acknowledges them when told."""

    def __init__(self, **changed: int) -> None:
        self.open = threading.Event()
        self.arrived = threading.Semaphore(0)
        self._limits = changed

    def __call__(self, requests: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        yield limits(**self._limits)
        context.add_callback(self.open.set)
        for request in requests:
            self.arrived.release()
            self.open.wait()
            yield ack(request.sequence)

    async def wait_for(self, messages: int = 1) -> None:
        for _ in range(messages):
            await asyncio.to_thread(self.arrived.acquire)


def cut_after(cuts: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> Any:
    """Cuts the first streams after a message that it does not acknowledge."""
    left = [None] * cuts

    def flow(requests: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        yield limits()
        for request in requests:
            if left:
                left.pop()
                context.abort(code, "cut")
            yield ack(request.sequence)

    return flow


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


def test_errors_of_the_stream_are_ordinary_ones() -> None:
    assert issubclass(BufferFullError, MlflowGrpcError)
    assert issubclass(MetricsNotStoredError, MlflowGrpcError)
    assert not issubclass(MetricsNotStoredError, UnimplementedError)
