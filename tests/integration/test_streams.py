"""StreamMetrics, over SQLite, PostgreSQL and an MLflow server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from mlflow import MlflowClient

from mlflow_grpc.v1 import resources_pb2, run_service_pb2
from tests.benchmarks.processes import rest_server
from tests.databases import sqlite_uri
from tests.rpc import Rpcs, describe
from tests.servers import ServerProcess
from tests.streams import MetricStream, points

Param, Tag, Metric = resources_pb2.Param, resources_pb2.Tag, resources_pb2.Metric
KIND = run_service_pb2.EntryKind


@dataclass(frozen=True)
class Server:
    """A server, calls to it, and MLflow's own client on the same store."""

    channel: grpc.Channel
    rpcs: Rpcs
    mlflow: MlflowClient

    def run(self) -> str:
        """Start a run and return its id."""
        return str(self.rpcs("StartRun", experimentId="0").run.info.run_id)

    def steps(self, run_id: str, key: str = "loss") -> list[int]:
        """The steps of all stored points, as MLflow's own client reads them."""
        return sorted(point.step for point in self.mlflow.get_metric_history(run_id, key))


@pytest.fixture(scope="module", params=["sqlite", "postgres", "mlflow server"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("streams")
    if request.param == "mlflow server":
        with rest_server(folder, workers=1, uri=sqlite_uri(folder)) as uri:
            yield from _served(folder, uri)
    elif request.param == "postgres":
        yield from _served(folder, request.getfixturevalue("postgres"))
    else:
        yield from _served(folder, sqlite_uri(folder))


def _served(folder: Path, uri: str) -> Iterator[Server]:
    with (
        ServerProcess(folder, "--backend-store-uri", uri) as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        yield Server(channel, Rpcs(channel), MlflowClient(uri))


def reasons(rejections: list[Any]) -> list[tuple[Any, list[int], str, str]]:
    """Kind, indexes, reason and field of each group of rejected entries."""
    found = []
    for group in (group for rejection in rejections for group in rejection.entries):
        details = {detail.type_url.rpartition(".")[2]: detail for detail in group.status.details}
        info = error_details_pb2.ErrorInfo.FromString(details["ErrorInfo"].value)
        field = ""
        if "BadRequest" in details:
            bad = error_details_pb2.BadRequest.FromString(details["BadRequest"].value)
            field = bad.field_violations[0].field
        assert info.domain == "mlflow-grpc"
        found.append((group.kind, list(group.indexes), info.reason, field))
    return found


def test_calls_about_runs_and_models(server: Server) -> None:
    """Not streams: here, because every kind of store is."""
    run_id = server.run()
    server.rpcs("LogMetrics", runId=run_id, metrics=[{"key": "m", "value": 2.0}])
    assert server.rpcs("GetRun", runId=run_id).run.data.metrics[0].value == 2.0
    assert server.rpcs.failure("GetRun", runId="0" * 32).code is grpc.StatusCode.NOT_FOUND
    server.rpcs("RegisterModel", name=run_id, source=f"runs:/{run_id}/model")
    registered = server.rpcs("GetModelVersion", name=run_id, version="1").model_version
    assert registered.run_id == run_id


def test_what_is_acknowledged_is_stored(server: Server) -> None:
    run_id, other = server.run(), server.run()
    with MetricStream(server.channel) as stream:
        assert stream.limits.max_entries_per_message >= 1000
        assert stream.limits.max_messages_in_flight > 1
        assert stream.limits.max_message_bytes > 2**20
        stream.send(1, run_id, points(0, 100), [Param(key="lr", value="1")])
        stream.send(2, other, points(0, 3), tags=[Tag(key="t", value="v")])
        assert stream.acked(2) == []
        assert server.steps(run_id) == list(range(100))
        assert server.mlflow.get_run(run_id).data.params == {"lr": "1"}
        assert server.steps(other) == [0, 1, 2]
        assert server.mlflow.get_run(other).data.tags["t"] == "v"


def test_a_stream_that_is_closed_ends_with_everything_acknowledged(server: Server) -> None:
    run_id = server.run()
    with MetricStream(server.channel) as stream:
        for number in range(30):
            stream.send(number + 1, run_id, points(number * 50, 50))
        stream.end()
        last = [response.ack.sequence for response in stream.call][-1]
    assert last == 30
    assert stream.call.code() is grpc.StatusCode.OK
    assert server.steps(run_id) == list(range(1500))


def test_the_same_points_are_stored_once(server: Server) -> None:
    run_id = server.run()
    for _ in range(2):
        with MetricStream(server.channel) as stream:
            stream.send(5, run_id, points(0, 250))
            stream.send(9, run_id, points(100, 250))
            assert stream.acked(9) == []
    assert server.steps(run_id) == list(range(350))


def test_bad_entries_are_named_and_good_ones_stored(server: Server) -> None:
    run_id = server.run()
    server.mlflow.log_param(run_id, "lr", "1")
    bad = [
        Metric(key="", value=1),
        Metric(key="no/../way", value=1),
        Metric(key="loss"),
        Metric(key="loss", value=1, timestamp_ms=-1),
        Metric(key="k" * 251, value=1),
        Metric(key="loss", value=1, model_id="nonsense"),
        Metric(key="loss", value=1, dataset_name="alone"),
    ]
    absent = Metric(key="loss", value=1, step=9, model_id="m-" + "0" * 32)
    with MetricStream(server.channel) as stream:
        stream.send(
            1,
            run_id,
            [*points(0, 2), *bad, absent, *points(2, 1)],
            [Param(key="lr", value="2"), Param(key="new", value="x"), Param(key="\0", value="x")],
            [Tag(key="t", value="v"), Tag(key="u", value="x\0y"), Tag(key="mlflow.runName")],
        )
        said = reasons(stream.acked(1))
    stored = server.mlflow.get_run(run_id)
    assert server.steps(run_id) == [0, 1, 2]
    assert stored.data.params == {"lr": "1", "new": "x"}
    assert stored.data.tags["t"] == "v"
    assert "u" not in stored.data.tags
    by_place = {(kind, index): (why, at) for kind, places, why, at in said for index in places}
    assert {index for kind, index in by_place if kind == KIND.ENTRY_KIND_METRIC} == set(
        range(2, 10)
    )
    assert by_place[KIND.ENTRY_KIND_METRIC, 5] == ("INVALID_FIELD", "metrics[5].timestamp_ms")
    assert by_place[KIND.ENTRY_KIND_METRIC, 9] == ("LOGGED_MODEL_NOT_FOUND", "")
    assert by_place[KIND.ENTRY_KIND_PARAM, 0] == ("PARAM_ALREADY_LOGGED", "params[0].value")
    assert by_place[KIND.ENTRY_KIND_PARAM, 2] == ("INVALID_FIELD", "params[2].key")
    assert by_place[KIND.ENTRY_KIND_TAG, 1] == ("INVALID_FIELD", "tags[1].value")
    assert by_place[KIND.ENTRY_KIND_TAG, 2] == ("INVALID_FIELD", "tags[2].value")


def test_absent_malformed_and_deleted_runs_are_named(server: Server) -> None:
    """The stream lives on, and a run that is deleted on the way is refused from then on."""
    run_id = server.run()
    with MetricStream(server.channel) as stream:
        stream.send(1, "0" * 32, points(0, 3), tags=[Tag(key="t", value="v")])
        stream.send(2, "not a run!", points(0, 2))
        stream.send(3, run_id, points(0, 1))
        assert reasons(stream.acked(3)) == [
            (KIND.ENTRY_KIND_METRIC, [0, 1, 2], "RUN_NOT_FOUND", ""),
            (KIND.ENTRY_KIND_TAG, [0], "RUN_NOT_FOUND", ""),
            (KIND.ENTRY_KIND_METRIC, [0, 1], "INVALID_FIELD", "run_id"),
        ]
        server.rpcs("DeleteRun", runId=run_id)
        stream.send(4, run_id, points(1, 1))
        assert reasons(stream.acked(4)) == [(KIND.ENTRY_KIND_METRIC, [0], "RUN_DELETED", "")]
    assert server.steps(run_id) == [0]


def test_ten_thousand_bad_entries(server: Server) -> None:
    """Each is named, however many responses that takes; one good entry is stored."""
    run_id = server.run()
    bad = [Metric(key=f"bad\n{number}", value=number) for number in range(10_000)]
    with MetricStream(server.channel) as stream:
        stream.send(1, run_id, [*bad[:5000], *points(0, 1), *bad[5000:]])
        rejections = stream.acked(1)
    named = [index for _, places, _, _ in reasons(rejections) for index in places]
    assert sorted(named) == [*range(5000), *range(5001, 10_001)]
    assert max(rejection.ByteSize() for rejection in rejections) < 4 * 2**20
    assert server.steps(run_id) == [0]


@pytest.mark.parametrize("sequence", [-1, 0, 6, 7])
def test_a_sequence_that_does_not_increase_ends_the_stream(server: Server, sequence: int) -> None:
    """What came before is stored and acknowledged."""
    run_id = server.run()
    with MetricStream(server.channel) as stream:
        stream.send(7, run_id, points(0, 10))
        stream.send(sequence, run_id, points(10, 10))
        assert stream.acked(7) == []
        with pytest.raises(grpc.RpcError) as raised:
            stream.read()
    failure = describe(raised.value)
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.fields == ("sequence",)
    assert server.steps(run_id) == list(range(10))


@pytest.mark.parametrize("number", [0, 25_001])
def test_no_entries_or_too_many_end_the_stream(server: Server, number: int) -> None:
    with MetricStream(server.channel) as stream:
        stream.send(1, server.run(), points(0, number))
        with pytest.raises(grpc.RpcError) as raised:
            stream.read()
    failure = describe(raised.value)
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.fields == ("metrics",)


def test_a_message_over_the_limit_ends_the_stream(server: Server) -> None:
    run_id = server.run()
    with MetricStream(server.channel) as stream:
        stream.send(1, run_id, points(0, 1))
        assert stream.acked(1) == []
        stream.send(2, run_id, tags=[Tag(key="t", value="v" * stream.limits.max_message_bytes)])
        with pytest.raises(grpc.RpcError) as raised:
            stream.read()
    assert describe(raised.value).code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.steps(run_id) == [0]


def test_random_bytes_hurt_nobody_else(server: Server) -> None:
    run_id = server.run()
    call = server.channel.stream_stream("/mlflow_grpc.v1.RunService/StreamMetrics")
    with MetricStream(server.channel) as stream:
        with pytest.raises(grpc.RpcError) as raised:
            list(call(iter([b"\xff\x00random bytes\x80" * 9]), timeout=60))
        failure = describe(raised.value)
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failure.reason == "MALFORMED_REQUEST"
        stream.send(1, run_id, points(0, 1))
        assert stream.acked(1) == []
    assert server.steps(run_id) == [0]


def test_one_call_and_one_stream_keep_their_own_rules(server: Server) -> None:
    """A unary call with a bad entry stores nothing, though a stream shares its commit."""
    run_id = server.run()
    server.rpcs("LogParams", runId=run_id, params=[{"key": "lr", "value": "1"}])
    failure = server.rpcs.failure(
        "LogBatch",
        runId=run_id,
        metrics=[{"key": "loss", "value": 1, "step": 1}],
        params=[{"key": "a", "value": "b"}, {"key": "lr", "value": "2"}],
        tags=[{"key": "t", "value": "v"}],
    )
    assert failure.reason == "PARAM_ALREADY_LOGGED"
    assert failure.fields == ("params[1].value",)
    stored = server.mlflow.get_run(run_id)
    assert stored.data.params == {"lr": "1"}
    assert "t" not in stored.data.tags
    assert server.steps(run_id) == []


def test_history_pages_hold_every_point_once(server: Server) -> None:
    run_id = server.run()
    with MetricStream(server.channel) as stream:
        twice = [Metric(key="loss", value=9, timestamp_ms=5, step=3)]
        nan = [Metric(key="loss", value=float("nan"), timestamp_ms=5, step=3)]
        stream.send(1, run_id, [*points(0, 100), *twice, *nan])
        assert stream.acked(1) == []
    seen, token = [], ""
    while True:
        page = server.rpcs(
            "GetMetricHistory", runId=run_id, metricKey="loss", pageSize=7, pageToken=token
        )
        seen += page.metrics
        token = page.next_page_token
        if not token:
            break
    assert len(seen) == 102
    assert sorted(point.step for point in seen) == sorted([*range(100), 3, 3])
    assert len({point.SerializeToString() for point in seen}) == 102
