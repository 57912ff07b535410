"""Streams through the loss of stores and of the server: nothing acknowledged is lost."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from mlflow import MlflowClient

from mlflow_grpc.v1 import run_service_pb2, run_service_pb2_grpc
from tests.databases import sqlite_uri
from tests.postgres import PostgresCluster
from tests.rpc import Rpcs, describe
from tests.servers import ServerProcess
from tests.streams import MetricStream, points


@pytest.fixture(scope="module")
def clusters() -> Iterator[PostgresCluster]:
    with PostgresCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(clusters: PostgresCluster) -> Iterator[PostgresCluster]:
    """A cluster that is up, and that a test may stop."""
    clusters.start()
    yield clusters
    clusters.stop()


def start_run(channel: grpc.Channel) -> str:
    return str(Rpcs(channel)("StartRun", experimentId="0").run.info.run_id)


def steps(uri: str, run_id: str) -> list[int]:
    """The steps of all stored points, as MLflow's own client reads them."""
    history = MlflowClient(uri).get_metric_history(run_id, "loss")
    return sorted(point.step for point in history)


def test_postgres_that_stops_and_starts_mid_stream(
    tmp_path: Path, cluster: PostgresCluster
) -> None:
    """The stream stays open, un-acknowledged, and goes on by itself."""
    with (
        ServerProcess(tmp_path, "--backend-store-uri", cluster.uri) as server,
        grpc.insecure_channel(server.address) as channel,
        MetricStream(channel) as stream,
    ):
        run_id = start_run(channel)
        for number in range(60):
            if number in (20, 40):
                stream.acked(number)
                cluster.stop()
            stream.send(number + 1, run_id, points(number * 100, 100))
            if number in (25, 45):
                cluster.start()
        assert stream.acked(60) == []
        assert steps(cluster.uri, run_id) == list(range(6000))


def test_a_store_that_stays_away_ends_the_stream(tmp_path: Path, cluster: PostgresCluster) -> None:
    """What was acknowledged is stored; the rest is not, and may be sent again later."""
    options = ("--backend-store-uri", cluster.uri, "--store-retry", "0.5")
    with (
        ServerProcess(tmp_path, *options) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        run_id = start_run(channel)
        with MetricStream(channel) as stream:
            stream.send(1, run_id, points(0, 10))
            stream.acked(1)
            cluster.stop()
            stream.send(2, run_id, points(10, 10))
            with pytest.raises(grpc.RpcError) as raised:
                stream.read()
        failure = describe(raised.value)
        assert failure.code is grpc.StatusCode.UNAVAILABLE
        assert failure.reason == "STORE_UNAVAILABLE"
        assert failure.retry_seconds
        cluster.start()
        assert steps(cluster.uri, run_id) == list(range(10))
        with MetricStream(channel) as stream:
            stream.send(2, run_id, points(10, 10))
            assert stream.acked(2) == []
        assert steps(cluster.uri, run_id) == list(range(20))


@contextmanager
def locked(database: Path) -> Iterator[threading.Event]:
    """A SQLite file that another writer has locked until the event is set."""
    release, taken = threading.Event(), threading.Event()

    def hold() -> None:
        other = sqlite3.connect(database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        taken.set()
        release.wait()
        other.execute("ROLLBACK")
        other.close()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    try:
        yield release
    finally:
        release.set()
        holder.join()


@pytest.mark.parametrize(
    "seconds", [2, pytest.param(25, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_sqlite_locked_by_another_writer(tmp_path: Path, seconds: float) -> None:
    """Longer than SQLite itself waits for a lock, which is 20 seconds in MLflow."""
    database = tmp_path / "mlflow.db"
    uri = sqlite_uri(tmp_path)
    with (
        ServerProcess(tmp_path, "--backend-store-uri", uri) as server,
        grpc.insecure_channel(server.address) as channel,
        MetricStream(channel) as stream,
    ):
        run_id = start_run(channel)
        stream.send(1, run_id, points(0, 10))
        stream.acked(1)
        with locked(database) as release:
            stream.send(2, run_id, points(10, 10))
            # Reads go on meanwhile, and what waits is not acknowledged.
            threading.Timer(seconds, release.set).start()
            assert Rpcs(channel)("GetRun", runId=run_id).run.info.run_id == run_id
            assert steps(uri, run_id) == list(range(10))
            assert stream.acked(2) == []
            assert release.is_set()
        assert steps(uri, run_id) == list(range(20))


def test_sigterm_under_load(tmp_path: Path) -> None:
    """What was taken is acknowledged, what is acknowledged is stored, and the exit is clean."""
    uri = sqlite_uri(tmp_path)
    acked: dict[str, int] = {}
    endings: list[grpc.StatusCode] = []
    with (
        ServerProcess(tmp_path, "--backend-store-uri", uri, "--grace-period", "20") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        run_ids = [start_run(channel) for _ in range(4)]
        half_way = threading.Barrier(len(run_ids) + 1)

        def train(run_id: str) -> None:
            with MetricStream(channel) as stream:
                for number in range(200):
                    stream.send(number + 1, run_id, points(number * 100, 100))
                acked[run_id] = 0
                try:
                    for response in stream.call:
                        acked[run_id] = response.ack.sequence
                        if not half_way.broken and half_way.n_waiting < half_way.parties:
                            wait_once(half_way, waited, run_id)
                except grpc.RpcError as error:
                    endings.append(error.code())

        waited: set[str] = set()
        trainers = [threading.Thread(target=train, args=(run_id,)) for run_id in run_ids]
        for trainer in trainers:
            trainer.start()
        half_way.wait(60)
        server.signal(signal.SIGTERM)
        for trainer in trainers:
            trainer.join()
        assert server.wait() == 0
    assert set(endings) <= {grpc.StatusCode.UNAVAILABLE}
    for run_id in run_ids:
        # All that was taken was acknowledged, so that the store has that and nothing else.
        assert steps(uri, run_id) == list(range(acked[run_id] * 100))
        assert acked[run_id] > 0
    assert "Traceback" not in server.log.read_text()


def wait_once(barrier: threading.Barrier, waited: set[str], name: str) -> None:
    """Wait at a barrier the first time that `name` comes to it."""
    if name not in waited:
        waited.add(name)
        barrier.wait(60)


def test_sigterm_while_the_store_is_away(tmp_path: Path, cluster: PostgresCluster) -> None:
    """The server gives up with the grace period, however patient its streams are."""
    options = ("--grace-period", "1", "--store-retry", "3600")
    with (
        ServerProcess(tmp_path, "--backend-store-uri", cluster.uri, *options) as server,
        grpc.insecure_channel(server.address) as channel,
        MetricStream(channel) as stream,
    ):
        run_id = start_run(channel)
        stream.send(1, run_id, points(0, 10))
        stream.acked(1)
        cluster.stop()
        for number in range(2, 20):
            stream.send(number, run_id, points(number * 10, 10))
        with pytest.raises(grpc.RpcError) as raised:
            # Behind a message of the stream, which has an hour.
            Rpcs(channel)("LogMetrics", runId=run_id, metrics=[{"key": "loss", "value": 1}])
        assert describe(raised.value).code is grpc.StatusCode.UNAVAILABLE
        server.signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as raised:
            stream.read()
        assert describe(raised.value).code is grpc.StatusCode.UNAVAILABLE
        assert server.wait(60) == 0


def test_a_watch_over_the_loss_of_the_store(tmp_path: Path, cluster: PostgresCluster) -> None:
    """It ends UNAVAILABLE, and its cursor is good for going on without a gap or a repeat."""
    with (
        ServerProcess(tmp_path, "--backend-store-uri", cluster.uri) as server,
        grpc.insecure_channel(server.address) as channel,
        MetricStream(channel) as stream,
    ):
        run_id = start_run(channel)
        stub = run_service_pb2_grpc.RunServiceStub(channel)
        watch = stub.WatchRun(run_service_pb2.WatchRunRequest(run_id=run_id), timeout=60)
        assert next(watch).HasField("snapshot")
        stream.send(1, run_id, points(0, 10))
        stream.acked(1)
        seen = next(watch)
        assert [point.step for point in seen.points.metrics] == list(range(10))
        cluster.stop()
        with pytest.raises(grpc.RpcError) as raised:
            next(watch)
        failure = describe(raised.value)
        assert (failure.code, failure.reason) == (
            grpc.StatusCode.UNAVAILABLE,
            "STORE_UNAVAILABLE",
        )
        assert failure.retry_seconds
        with pytest.raises(grpc.RpcError) as raised:
            Rpcs(channel)("GetMetricHistory", runId=run_id, metricKey="loss")
        assert describe(raised.value).code is grpc.StatusCode.UNAVAILABLE
        stream.send(2, run_id, points(10, 10))
        cluster.start()
        stream.acked(2)
        request = run_service_pb2.WatchRunRequest(run_id=run_id, cursor=seen.cursor)
        watch = stub.WatchRun(request, timeout=60)
        assert next(watch).HasField("snapshot")
        assert [point.step for point in next(watch).points.metrics] == list(range(10, 20))
        watch.cancel()
