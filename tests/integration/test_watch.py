"""WatchRun: every point once, whoever wrote it and wherever the watcher was cut off."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from mlflow_grpc.v1 import resources_pb2, run_service_pb2, run_service_pb2_grpc
from tests.databases import sqlite_uri
from tests.rpc import Rpcs, describe
from tests.servers import ServerProcess
from tests.streams import MetricStream, points


@dataclass(frozen=True)
class Server:
    """A server, calls to it, and MLflow's own client on the same database."""

    channel: grpc.Channel
    rpcs: Rpcs
    mlflow: MlflowClient

    def run(self) -> str:
        """Start a run and return its id."""
        return str(self.rpcs("StartRun", experimentId="0").run.info.run_id)

    def watch(self, run_id: str, **request: Any) -> Any:
        """Watch a run, for a minute at most."""
        stub = run_service_pb2_grpc.RunServiceStub(self.channel)
        return stub.WatchRun(run_service_pb2.WatchRunRequest(run_id=run_id, **request), timeout=60)

    def log(self, run_id: str, first: int, number: int, key: str = "loss") -> None:
        """Log points as another process does, past this server."""
        metrics = [
            Metric(p.key, p.value, p.timestamp_ms, p.step) for p in points(first, number, key)
        ]
        self.mlflow.log_batch(run_id, metrics)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("watch")
    uri = sqlite_uri(folder)
    if request.param == "postgres":
        uri = request.getfixturevalue("postgres")
    with (
        ServerProcess(folder, "--backend-store-uri", uri) as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        yield Server(channel, Rpcs(channel), MlflowClient(uri))


def seen(responses: Any) -> list[tuple[str, int]]:
    """Key and step of every point of some responses."""
    return [(p.key, p.step) for response in responses for p in response.points.metrics]


def expected(first: int, number: int, key: str = "loss") -> list[tuple[str, int]]:
    return [(key, step) for step in range(first, first + number)]


def test_snapshot_points_and_end(server: Server) -> None:
    """What was there before is in the snapshot alone; both this server and others write."""
    run_id = server.run()
    server.log(run_id, 0, 5)
    watch = server.watch(run_id)
    snapshot = next(watch)
    assert snapshot.snapshot.info.run_id == run_id
    assert [metric.step for metric in snapshot.snapshot.data.metrics] == [4]
    server.log(run_id, 5, 3)
    with MetricStream(server.channel) as stream:
        stream.send(1, run_id, points(8, 2000))
        stream.acked(1)
    # One that is older than all the others is as new to the watcher.
    server.log(run_id, -1, 1)
    server.rpcs("EndRun", runId=run_id, status="RUN_STATUS_FAILED")
    rest = list(watch)
    assert sorted(seen(rest)) == sorted([*expected(5, 2003), ("loss", -1)])
    assert rest[-1].end.info.status == resources_pb2.RUN_STATUS_FAILED
    assert watch.code() is grpc.StatusCode.OK


def test_history_comes_first(server: Server) -> None:
    run_id = server.run()
    for key in ("b", "a"):
        for first in range(0, 2500, 500):
            server.log(run_id, first, 500, key)
    watch = server.watch(run_id, include_history=True)
    responses = [next(watch)]
    while len(seen(responses)) < 5000:
        responses.append(next(watch))
    assert seen(responses) == [*expected(0, 2500, "a"), *expected(0, 2500, "b")]
    server.log(run_id, 2500, 1, "a")
    assert seen([next(watch)]) == [("a", 2500)]
    watch.cancel()


def test_every_cursor_goes_on_without_a_gap_or_a_repeat(server: Server) -> None:
    """In the history, between history and news, and in the news."""
    run_id, other = server.run(), server.run()
    for first in range(0, 2500, 500):
        server.log(run_id, first, 500)
    watch = server.watch(run_id, include_history=True)
    responses = [next(watch)]
    while len(seen(responses)) < 2500:
        responses.append(next(watch))
    server.log(other, 0, 10)
    server.log(run_id, 2500, 1000)
    server.log(run_id, 3500, 1000)
    server.rpcs("EndRun", runId=run_id)
    responses += list(watch)
    everything = seen(responses)
    assert sorted(everything) == expected(0, 4500)
    for number, response in enumerate(responses[:-1]):
        rest = list(server.watch(run_id, cursor=response.cursor))
        assert rest[0].HasField("snapshot")
        before = seen(responses[: number + 1])
        assert sorted([*before, *seen(rest)]) == sorted(everything)
        assert rest[-1].HasField("end")


def test_a_run_that_has_ended(server: Server) -> None:
    run_id = server.run()
    server.log(run_id, 0, 3)
    server.rpcs("EndRun", runId=run_id)
    kinds = [response.WhichOneof("event") for response in server.watch(run_id)]
    assert kinds == ["snapshot", "end"]
    assert seen(server.watch(run_id, include_history=True)) == expected(0, 3)


def test_a_run_that_is_deleted_ends(server: Server) -> None:
    run_id = server.run()
    watch = server.watch(run_id)
    next(watch)
    server.rpcs("DeleteRun", runId=run_id)
    (last,) = watch
    stage = resources_pb2.LIFECYCLE_STAGE_DELETED
    assert last.end.info.lifecycle_stage == stage


def test_only_the_keys_asked_for(server: Server) -> None:
    run_id = server.run()
    watch = server.watch(run_id, metric_keys=["a", "b"])
    next(watch)
    for key in ("a", "c", "b"):
        server.log(run_id, 0, 2, key)
    server.rpcs("EndRun", runId=run_id)
    assert sorted(seen(watch)) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        ({"run_id": "0" * 32}, grpc.StatusCode.NOT_FOUND, ()),
        ({"run_id": ""}, grpc.StatusCode.INVALID_ARGUMENT, ("run_id",)),
        ({"metric_keys": ["../x"]}, grpc.StatusCode.INVALID_ARGUMENT, ("metric_keys[0]",)),
        ({"metric_keys": ["a"] * 101}, grpc.StatusCode.INVALID_ARGUMENT, ("metric_keys",)),
        ({"cursor": "x"}, grpc.StatusCode.INVALID_ARGUMENT, ("cursor",)),
        ({"cursor": "[1, 2]"}, grpc.StatusCode.INVALID_ARGUMENT, ("cursor",)),
        ({"cursor": '["other", "1", null, []]'}, grpc.StatusCode.INVALID_ARGUMENT, ("cursor",)),
        ({"cursor": '["RUN", "x", null, []]'}, grpc.StatusCode.INVALID_ARGUMENT, ("cursor",)),
        ({"cursor": '["RUN", "1", "1", [[]]]'}, grpc.StatusCode.INVALID_ARGUMENT, ("cursor",)),
        (
            {"cursor": "x", "include_history": True},
            grpc.StatusCode.INVALID_ARGUMENT,
            ("include_history",),
        ),
    ],
)
def test_bad_requests(
    server: Server, request_: dict[str, Any], code: grpc.StatusCode, field: tuple[str, ...]
) -> None:
    run_id = server.run()
    if "cursor" in request_:
        request_ = {**request_, "cursor": request_["cursor"].replace("RUN", run_id)}
    with pytest.raises(grpc.RpcError) as raised:
        list(server.watch(**{"run_id": run_id, **request_}))
    failure = describe(raised.value)
    assert failure.code is code
    assert failure.fields == field


def test_many_writers_and_a_watcher_that_is_cut_off_again_and_again(server: Server) -> None:
    """Four writers of MLflow's own and a stream; no point is missed or told twice."""
    run_id = server.run()
    cursor = next(server.watch(run_id)).cursor

    def write(key: str) -> None:
        for first in range(0, 300, 10):
            server.log(run_id, first, 10, key)

    writers = [threading.Thread(target=write, args=(f"writer-{n}",)) for n in range(4)]
    for writer in writers:
        writer.start()
    with MetricStream(server.channel) as stream:
        for number in range(50):
            stream.send(number + 1, run_id, points(number * 20, 20, "stream"))
        stream.acked(50)
    found: list[tuple[str, int]] = []
    dice = random.Random(7)
    total = 4 * 300 + 1000
    while len(found) < total:
        watch = server.watch(run_id, cursor=cursor)
        for _, response in zip(range(dice.randrange(1, 4)), watch, strict=False):
            found += seen([response])
            cursor = response.cursor
            if len(found) >= total:
                break
        watch.cancel()
    for writer in writers:
        writer.join()
    server.rpcs("EndRun", runId=run_id)
    found += seen(server.watch(run_id, cursor=cursor))
    wanted = [point for n in range(4) for point in expected(0, 300, f"writer-{n}")]
    assert sorted(found) == sorted([*wanted, *expected(0, 1000, "stream")])


def test_a_store_without_an_order_of_commits(tmp_path: Path, mariadb: str) -> None:
    with (
        ServerProcess(tmp_path, "--backend-store-uri", mariadb) as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        server = Server(channel, Rpcs(channel), MlflowClient(mariadb))
        with pytest.raises(grpc.RpcError) as raised:
            list(server.watch(server.run()))
        failure = describe(raised.value)
        assert failure.code is grpc.StatusCode.UNIMPLEMENTED
        assert failure.reason == "NO_COMMIT_ORDER"
