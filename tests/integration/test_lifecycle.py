"""Start, health, drain and what an operator sees when something is wrong."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from mlflow_grpc.v1 import experiment_service_pb2, experiment_service_pb2_grpc
from tests.conftest import Served
from tests.databases import sqlite_uri
from tests.mariadb import MariaDb
from tests.postgres import PostgresCluster
from tests.rpc import Rpcs, describe
from tests.servers import ServerProcess

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = (
    "StatusService",
    "ExperimentService",
    "RunService",
    "ModelRegistryService",
    "ModelServingService",
)


def health_of(channel: grpc.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30).status)


def wait_for_health(channel: grpc.Channel, service: str, wanted: int) -> None:
    """Return when the health service reports `wanted`, by its own stream."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(service=service), timeout=60
    )
    for response in watch:
        if response.status == wanted:
            watch.cancel()
            return
    raise AssertionError("the watch ended")


def start_failing(folder: Path, *arguments: str) -> str:
    """Start a server that must not start; return what it says."""
    sqlite_uri(folder)
    done = subprocess.run(
        [sys.executable, "-m", "mlflow_grpc_server.cli", "--port", "0", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_every_service_is_healthy_reflected_and_counted(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        for service in SERVICES:
            assert health_of(channel, f"mlflow_grpc.v1.{service}") == SERVING
        reflected = set(ProtoReflectionDescriptorDatabase(channel).get_services())
        assert {f"mlflow_grpc.v1.{service}" for service in SERVICES} <= reflected
        assert {"grpc.health.v1.Health", "grpc.channelz.v1.Channelz"} <= reflected
        servers = channelz_pb2_grpc.ChannelzStub(channel).GetServers(
            channelz_pb2.GetServersRequest(), timeout=30
        )
        assert servers.server[0].data.calls_started > 0


def test_the_status_service_answers_in_full(rpcs: Rpcs, served: Served) -> None:
    health = rpcs("GetHealth")
    assert [component.component for component in health.components] == [1, 2, 3, 4]
    assert {health.state, *(component.state for component in health.components)} == {1}
    info = rpcs("GetServerInfo")
    assert info.address == served.address
    assert info.backend_store_uri == served.backend_store_uri
    assert info.limits.max_metrics_per_request == 1000
    assert rpcs("GetVersion").api_version == "mlflow_grpc.v1"


def test_a_lost_store_shows_in_health_and_comes_back(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    with ServerProcess(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        hidden = sqlite3.connect(database)
        hidden.execute("ALTER TABLE experiments RENAME TO hidden")
        hidden.commit()
        wait_for_health(channel, "mlflow_grpc.v1.RunService", NOT_SERVING)
        assert health_of(channel, "mlflow_grpc.v1.StatusService") == SERVING
        health = Rpcs(channel)("GetHealth")
        assert (health.state, health.components[1].state, health.components[2].state) == (2, 2, 1)
        hidden.execute("ALTER TABLE hidden RENAME TO experiments")
        hidden.commit()
        hidden.close()
        wait_for_health(channel, "mlflow_grpc.v1.RunService", SERVING)


def test_sigterm_lets_a_call_in_flight_end_and_exits_cleanly(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        rpcs = Rpcs(channel)
        health_watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=60
        )
        assert next(health_watch).status == SERVING
        blocker = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        created: list[str] = []
        call = threading.Thread(
            target=lambda: created.append(rpcs("CreateExperiment", name="late").experiment.name)
        )
        call.start()
        wait_for_calls_in_flight(channel, 3)
        server.signal(signal.SIGTERM)
        assert next(health_watch).status == NOT_SERVING
        blocker.execute("COMMIT")
        blocker.close()
        call.join()
        assert created == ["late"]
        assert server.wait() == 0


@pytest.mark.parametrize(
    "second", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT]
)
def test_a_second_signal_ends_what_does_not_end(tmp_path: Path, second: signal.Signals) -> None:
    with ServerProcess(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        health_watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=60
        )
        assert next(health_watch).status == SERVING
        blocker = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        request = experiment_service_pb2.CreateExperimentRequest(name="never")
        experiments = experiment_service_pb2_grpc.ExperimentServiceStub(channel)
        call = experiments.CreateExperiment.future(request, timeout=60)
        wait_for_calls_in_flight(channel, 3)
        server.signal(signal.SIGTERM)
        assert next(health_watch).status == NOT_SERVING
        assert not call.done()
        server.signal(second)
        assert server.wait(10) == -second
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        blocker.close()


def wait_for_calls_in_flight(channel: grpc.Channel, count: int) -> None:
    """Return when the server has `count` calls in flight, the one that asks among them."""
    stub = channelz_pb2_grpc.ChannelzStub(channel)
    while True:
        servers = stub.GetServers(channelz_pb2.GetServersRequest(), timeout=30).server
        data = servers[0].data
        if data.calls_started - data.calls_succeeded - data.calls_failed >= count:
            return


def list_experiments(channel: grpc.Channel, timeout: float) -> None:
    channel.unary_unary("/mlflow_grpc.v1.ExperimentService/ListExperiments")(b"", timeout=timeout)


def create_until_served(rpcs: Rpcs, name: str) -> None:
    """Create an experiment, however often the full queue refuses it."""
    while True:
        try:
            rpcs("CreateExperiment", name=name)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
        else:
            return


def test_a_cancelled_call_leaves_the_queue(tmp_path: Path) -> None:
    arguments = ("--store-threads", "1", "--store-queue", "1")
    with (
        ServerProcess(tmp_path, *arguments) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        rpcs = Rpcs(channel)
        blocker = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        running = threading.Thread(target=lambda: rpcs("CreateExperiment", name="running"))
        running.start()
        wait_for_calls_in_flight(channel, 2)
        # With the one thread taken, a waiting call leaves at its deadline and makes room for the
        # next, which is refused until the server has noticed.
        left = 0
        while left < 3:
            try:
                list_experiments(channel, timeout=0.2)
            except grpc.RpcError as error:
                left += error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        blocker.execute("COMMIT")
        blocker.close()
        running.join()
        names = {one.name for one in rpcs("ListExperiments").experiments}
        assert names == {"Default", "running"}


def test_a_full_queue_refuses_and_says_when_to_retry(tmp_path: Path) -> None:
    arguments = ("--store-threads", "1", "--store-queue", "0")
    with (
        ServerProcess(tmp_path, *arguments) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        rpcs = Rpcs(channel)
        blocker = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        running = threading.Thread(target=create_until_served, args=(rpcs, "running"))
        running.start()
        while True:
            try:
                list_experiments(channel, timeout=0.5)
            except grpc.RpcError as error:
                failure = describe(error)
                if failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    break
        assert failure.reason == "TOO_MANY_CALLS_WAITING"
        assert failure.retry_seconds
        blocker.execute("COMMIT")
        blocker.close()
        running.join()


def test_the_caller_may_choose_the_request_id(served: Served) -> None:
    with grpc.insecure_channel(served.address) as channel:
        call = channel.unary_unary("/mlflow_grpc.v1.StatusService/GetVersion")
        _, done = call.with_call(b"", metadata=[("x-request-id", "mine-1")], timeout=30)
        assert ("x-request-id", "mine-1") in done.trailing_metadata()
        _, done = call.with_call(b"", metadata=[("x-request-id", "in jection")], timeout=30)
        assert dict(done.trailing_metadata())["x-request-id"] != "in jection"


def test_debug_logs_each_call_with_its_request_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DEBUG", "true")
    with ServerProcess(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        failure = Rpcs(channel).failure("GetRun", runId="0" * 32)
    line = next(line for line in server.log.read_text().splitlines() if "GetRun" in line)
    assert "NOT_FOUND" in line
    assert failure.request_id in line


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}" in start_failing(tmp_path, "--port", port)


@pytest.mark.parametrize("flag", ["--backend-store-uri", "--registry-store-uri"])
def test_a_wrong_store_uri_ends_the_start_without_its_secret(tmp_path: Path, flag: str) -> None:
    said = start_failing(tmp_path, flag, "postgresql://user:s3cr3t@127.0.0.1:1/none")
    assert "Error: " in said
    assert "s3cr3t" not in said


def test_a_wrong_password_is_said_and_not_shown(tmp_path: Path, postgres: str) -> None:
    said = start_failing(tmp_path, "--backend-store-uri", postgres.replace("s3cr3t", "wr0ng"))
    assert "password authentication failed" in said
    assert "wr0ng" not in said


@pytest.mark.parametrize("database", [PostgresCluster, MariaDb])
def test_a_database_serves_and_its_loss_is_unavailable(
    tmp_path: Path, database: type[PostgresCluster] | type[MariaDb]
) -> None:
    with database() as cluster:
        cluster.start()
        with (
            ServerProcess(tmp_path, "--backend-store-uri", cluster.uri) as server,
            grpc.insecure_channel(server.address) as channel,
        ):
            rpcs = Rpcs(channel)
            run_id = rpcs("StartRun", experimentId="0").run.info.run_id
            cluster.stop()
            failure = rpcs.failure("GetRun", runId=run_id)
            assert failure.code is grpc.StatusCode.UNAVAILABLE
            assert failure.retry_seconds
            wait_for_health(channel, "", NOT_SERVING)
            cluster.start()
            wait_for_health(channel, "", SERVING)
            assert rpcs("GetRun", runId=run_id).run.info.run_id == run_id
            assert "s3cr3t" not in rpcs("GetServerInfo").backend_store_uri
    assert "s3cr3t" not in server.log.read_text()
