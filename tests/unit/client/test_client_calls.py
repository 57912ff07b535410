"""Deadlines, retries, metadata, paging and chunks: how calls are made."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message

from mlflow_grpc import (
    ClientConfig,
    DeadlineExceededError,
    Metric,
    ResourceExhaustedError,
    UnavailableError,
)
from mlflow_grpc._channel import channel_options, service_config
from mlflow_grpc.v1 import experiment_service_pb2, resources_pb2, run_service_pb2
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import METHODS, FakeServer


def fail_twice() -> Any:
    """Answers UNAVAILABLE twice, and then with a run."""
    left = [None, None]

    def answer(request: Message, context: grpc.ServicerContext) -> Message:
        if left:
            left.pop()
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        return run_service_pb2.GetRunResponse(
            run=resources_pb2.Run(info=resources_pb2.RunInfo(run_id="r"))
        )

    return answer


async def test_a_safe_call_is_repeated(server: FakeServer, driver: Driver) -> None:
    server.answers["GetRun"] = fail_twice()
    run = await driver.call("get_run", "r")
    assert run.info.run_id == "r"
    assert len(server.requests("GetRun")) == 3


async def test_a_repeated_metric_is_the_same_point(server: FakeServer, driver: Driver) -> None:
    server.answers["LogMetrics"] = fail_twice()
    await driver.call("log_metric", "r", "loss", 1)
    first, *others = server.requests("LogMetrics")
    assert first.metrics[0].HasField("timestamp_ms")
    assert others == [first, first]


async def test_an_unsafe_call_is_not_repeated(server: FakeServer, driver: Driver) -> None:
    server.answers["StartRun"] = fail_twice()
    with pytest.raises(UnavailableError, match="restarting"):
        await driver.call("create_run", "0")
    assert len(server.requests("StartRun")) == 1


async def test_retries_end(server: FakeServer, driver: Driver) -> None:
    client = driver.open(retry_attempts=2)
    server.answers["GetRun"] = fail_twice()
    with pytest.raises(UnavailableError):
        await driver.call("get_run", "r", on=client)
    assert len(server.requests("GetRun")) == 2


async def test_retries_can_be_off(server: FakeServer, driver: Driver) -> None:
    client = driver.open(retry_attempts=1)
    server.answers["GetRun"] = fail_twice()
    with pytest.raises(UnavailableError):
        await driver.call("get_run", "r", on=client)
    assert len(server.requests("GetRun")) == 1


def test_retries_are_for_single_calls_that_the_protos_call_safe() -> None:
    (entry,) = json.loads(service_config(4))["methodConfig"]
    assert entry["retryPolicy"] == {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    assert {(name["service"], name["method"]) for name in entry["name"]} == {
        (method.containing_service.full_name, method.name)
        for method in METHODS.values()
        if method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
        and not method.client_streaming
        and not method.server_streaming
    }


def test_keepalive_is_no_more_often_than_the_server_permits() -> None:
    options = dict(channel_options(ClientConfig()))
    assert options["grpc.keepalive_time_ms"] == 30_000
    assert options["grpc.keepalive_timeout_ms"] == 10_000
    assert options["grpc.max_receive_message_length"] == 64 * 1024 * 1024


async def test_every_call_has_a_deadline(server: FakeServer, driver: Driver) -> None:
    await driver.call("get_version")
    await driver.call("get_version", timeout=math.inf)
    await driver.call("get_version", on=driver.open(timeout=None))
    limited, *unlimited = [_limited(call.seconds_left) for call in server.calls]
    assert limited
    assert unlimited == [False, False]


def _limited(seconds_left: float | None) -> bool:
    # gRPC's own "never" is a time in the far future.
    return seconds_left is not None and seconds_left < 1e9


def test_a_call_may_have_its_own_deadline() -> None:
    config = ClientConfig(timeout=5)
    assert config.deadline(None) == 5
    assert config.deadline(0.5) == 0.5
    assert config.deadline(math.inf) is None
    assert ClientConfig(timeout=None).deadline(None) is None


@pytest.mark.parametrize("by", ["call", "config"])
async def test_a_deadline_ends_the_call(by: str, server: FakeServer, driver: Driver) -> None:
    release = threading.Event()

    def wait(request: Message, context: grpc.ServicerContext) -> Message:
        context.add_callback(release.set)
        release.wait()
        return run_service_pb2.DeleteRunResponse()

    server.answers["DeleteRun"] = wait
    arguments = {"timeout": 0.05} if by == "call" else {"on": driver.open(timeout=0.05)}
    with pytest.raises(DeadlineExceededError):
        await driver.call("delete_run", "r", **arguments)


async def test_metadata_goes_with_every_call(server: FakeServer, driver: Driver) -> None:
    client = driver.open(metadata=(("x-team", "a"), ("x-blob-bin", b"\x00\xff")))
    await driver.call("get_version", on=client)
    (call,) = server.calls
    assert call.metadata["x-team"] == "a"
    assert call.metadata["x-blob-bin"] == b"\x00\xff"


async def test_a_response_may_not_be_too_large(server: FakeServer, driver: Driver) -> None:
    client = driver.open(max_message_bytes=100)
    experiment = resources_pb2.Experiment(description="x" * 200)
    server.answers["GetExperiment"] = lambda request, context: (
        experiment_service_pb2.GetExperimentResponse(experiment=experiment)
    )
    with pytest.raises(ResourceExhaustedError):
        await driver.call("get_experiment", "0", on=client)


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0},
        {"timeout": math.nan},
        {"max_message_bytes": 0},
        {"keepalive_time": 0},
        {"keepalive_timeout": math.inf},
        {"retry_attempts": 0},
        {"retry_attempts": 6},
    ],
    ids=str,
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ClientConfig(**wrong)


async def test_waiting_for_the_server(driver: Driver) -> None:
    await driver.call("wait_until_ready")
    nowhere = driver.open("unix:/nonexistent/mlflow-grpc.sock")
    with pytest.raises(DeadlineExceededError, match=r"not ready within 0\.05 s"):
        await driver.call("wait_until_ready", 0.05, on=nowhere)


@pytest.mark.parametrize("name", ["get_version", "search_experiments", "wait_until_ready"])
async def test_a_closed_client_says_so(name: str, server: FakeServer, driver: Driver) -> None:
    await driver.call("close")
    await driver.call("close")
    with pytest.raises(RuntimeError, match="the client is closed"):
        await driver.call(name)
    assert server.calls == []


async def test_a_client_closes_at_the_end_of_its_block(driver: Driver) -> None:
    if driver.kind == "sync":
        with driver.client as client:  # type: ignore[union-attr]
            pass
    else:
        async with driver.client as client:  # type: ignore[union-attr]
            pass
    with pytest.raises(RuntimeError, match="the client is closed"):
        await driver.call("get_version", on=client)


def _serve_numbers(server: FakeServer, count: int, page: int = 3) -> None:
    """A history of `count` points, in pages of at most `page`."""

    def answer(request: Any, context: grpc.ServicerContext) -> Message:
        start = int(request.page_token or 0)
        stop = min(start + min(request.page_size or page, page), count)
        return run_service_pb2.GetMetricHistoryResponse(
            metrics=[resources_pb2.Metric(key="k", value=i, step=i) for i in range(start, stop)],
            next_page_token=str(stop) if stop < count else "",
        )

    server.answers["GetMetricHistory"] = answer


@pytest.mark.parametrize(
    ("arguments", "steps", "sizes"),
    [
        ({}, 7, [0, 0, 0]),
        ({"page_size": 2}, 7, [2, 2, 2, 2]),
        ({"max_results": 4}, 4, [4, 1]),
        ({"max_results": 3, "page_size": 2}, 3, [2, 1]),
        ({"max_results": 0}, 0, []),
        ({"max_results": 99}, 7, [99, 96, 93]),
    ],
    ids=str,
)
async def test_lists_page_by_themselves(
    arguments: dict[str, int],
    steps: int,
    sizes: list[int],
    server: FakeServer,
    driver: Driver,
) -> None:
    _serve_numbers(server, 7)
    points = await driver.call("get_metric_history", "r", "k", **arguments)
    assert [point.step for point in points] == list(range(steps))
    assert [request.page_size for request in server.requests("GetMetricHistory")] == sizes


async def test_an_empty_page_is_not_the_end(server: FakeServer, driver: Driver) -> None:
    pages = {"": ([], "a"), "a": ([resources_pb2.Metric(key="k", step=1)], "")}
    server.answers["GetMetricHistory"] = lambda request, context: (
        run_service_pb2.GetMetricHistoryResponse(
            metrics=pages[request.page_token][0], next_page_token=pages[request.page_token][1]
        )
    )
    points = await driver.call("get_metric_history", "r", "k")
    assert [point.step for point in points] == [1]


@pytest.mark.parametrize("wrong", [{"max_results": -1}, {"page_size": 0}], ids=str)
async def test_wrong_sizes_are_refused_at_once(
    wrong: dict[str, int], server: FakeServer, driver: Driver
) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        await driver.call("search_experiments", **wrong)
    assert server.calls == []


async def test_one_experiment_may_be_searched_by_its_id(server: FakeServer, driver: Driver) -> None:
    await driver.call("search_runs", "12")
    assert list(server.requests("SearchRuns")[0].experiment_ids) == ["12"]


@pytest.mark.parametrize(
    ("name", "rpc", "field", "most"),
    [
        ("log_metrics", "LogMetrics", "metrics", 1000),
        ("log_params", "LogParams", "params", 100),
        ("set_tags", "SetTags", "tags", 100),
    ],
)
async def test_many_entries_go_in_chunks(
    name: str, rpc: str, field: str, most: int, server: FakeServer, driver: Driver
) -> None:
    entries = {f"k{i}": i for i in range(2 * most + 1)}
    await driver.call(name, "r", entries)
    chunks = [list(getattr(request, field)) for request in server.requests(rpc)]
    assert [len(chunk) for chunk in chunks] == [most, most, 1]
    assert [entry.key for chunk in chunks for entry in chunk] == list(entries)


@pytest.mark.parametrize("name", ["log_metrics", "log_params", "set_tags"])
async def test_nothing_to_log_is_no_call(name: str, server: FakeServer, driver: Driver) -> None:
    await driver.call(name, "r", {})
    assert server.calls == []


async def test_values_by_key_share_step_and_time(server: FakeServer, driver: Driver) -> None:
    await driver.call("log_metrics", "r", {"a": 1, "b": 2.5}, step=4, timestamp=99)
    (request,) = server.requests("LogMetrics")
    assert [(m.key, m.value, m.step, m.timestamp_ms) for m in request.metrics] == [
        ("a", 1.0, 4, 99),
        ("b", 2.5, 4, 99),
    ]


async def test_points_have_their_own_step_and_time(server: FakeServer, driver: Driver) -> None:
    points = (Metric("a", 1, timestamp=step, step=step) for step in range(3))
    await driver.call("log_metrics", "r", points)
    (request,) = server.requests("LogMetrics")
    assert [m.timestamp_ms for m in request.metrics] == [0, 1, 2]
    with pytest.raises(ValueError, match="a Metric has its own"):
        await driver.call("log_metrics", "r", [Metric("a", 1)], step=1)


async def test_a_batch_is_not_split(server: FakeServer, driver: Driver) -> None:
    await driver.call("log_batch", "r", [Metric("a", i) for i in range(1001)])
    (request,) = server.requests("LogBatch")
    assert len(request.metrics) == 1001
    assert all(metric.HasField("timestamp_ms") for metric in request.metrics)


async def test_what_counts_as_a_number_is_logged(server: FakeServer, driver: Driver) -> None:
    class Tensor:
        def __float__(self) -> float:
            return 2.5

    await driver.call("log_metric", "r", "loss", Tensor())
    assert server.requests("LogMetrics")[0].metrics[0].value == 2.5
