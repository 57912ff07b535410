"""Deploying, swapping, splitting, following an alias, and what outlives a restart."""

from __future__ import annotations

import json
import signal
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from tests.integration.serving.house import House, order, predictions
from tests.rpc import Failure, describe
from tests.servers import ServerProcess

READY = pb.SERVED_MODEL_STATE_READY
ABSENT = grpc.StatusCode.NOT_FOUND
INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture(scope="module")
def versions(house: House) -> str:
    """The name of a registered model with versions 1 and 2, which say so, and 3, which is bad."""
    house.log.misbehaving("versions", "one")
    house.log.misbehaving("versions", "two")
    house.log.unloadable("versions")
    return "versions"


def says(house: House, name: str, text: str = "") -> str:
    """Return which version answers."""
    return str(predictions(house.stub.Predict(order(name, text), timeout=60))[0]).split()[0]


@contextmanager
def called(house: House, name: str) -> Iterator[None]:
    """Call a model all the while; no call may fail."""
    stop = threading.Event()
    failures: list[Failure] = []

    def call() -> None:
        while not stop.is_set():
            try:
                says(house, name)
            except grpc.RpcError as error:
                failures.append(describe(error))

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert failures == []


def test_versions_swap_and_share_under_load_without_a_failed_call(
    house: House, versions: str
) -> None:
    name = house.deploy(f"models:/{versions}/1", name="swap")
    with called(house, name):
        first = house.get(name)
        old = first.versions[0].replicas[0].pid
        house.deploy(f"models:/{versions}/2", name=name)
        assert says(house, name) == "two"
        house.wait(name, lambda served: len(served.versions) == 1)
        assert not Path(f"/proc/{old}").exists()

        kept = house.pids(name)[0]
        split = [
            {"modelUri": f"models:/{versions}/1", "weight": 1},
            {"modelUri": f"models:/{versions}/2", "weight": 3},
        ]
        house.rpcs("DeployModel", name=name, models=split, waitUntilReady=True)
        served = house.get(name)
        # The version that stays keeps its replica.
        assert served.versions[1].replicas[0].pid == kept
        assert [version.weight for version in served.versions] == [1, 3]
        assert served.create_time == first.create_time
    assert Counter(says(house, name) for _ in range(40)) == {"one": 10, "two": 30}
    house.undeploy(name)


@pytest.mark.slow
def test_a_deployment_follows_its_alias_but_not_to_a_bad_version(
    house: House, versions: str
) -> None:
    house.log.alias(versions, "champion", "1")
    name = house.deploy(f"models:/{versions}@champion", name="follow")
    with called(house, name):
        house.log.alias(versions, "champion", "2")
        house.wait(name, lambda s: [v.resolved_uri for v in s.versions] == ["models:/versions/2"])
        assert says(house, name) == "two"

        house.log.alias(versions, "champion", "3")
        served = house.wait(name, lambda s: s.state == pb.SERVED_MODEL_STATE_DEGRADED)
        assert "what loading says" in served.state_reason
        assert "about to fail to load" in served.log_lines
        serving = [version.resolved_uri for version in served.versions if version.weight]
        assert serving == ["models:/versions/2"]

        house.log.alias(versions, "champion", "1")
        house.wait(name, lambda s: [v.resolved_uri for v in s.versions] == ["models:/versions/1"])
        assert says(house, name) == "one"
    house.undeploy(name)


def test_a_model_that_cannot_be_loaded_is_failed_with_its_log(house: House, versions: str) -> None:
    uri = f"models:/{versions}/3"
    failure = house.rpcs.failure("DeployModel", name="bad", modelUri=uri, waitUntilReady=True)
    assert (failure.code, failure.reason) == (PRECONDITION, "MODEL_NOT_LOADED")
    assert "what loading says" in failure.message
    served = house.get("bad")
    assert served.state == pb.SERVED_MODEL_STATE_FAILED
    assert "RuntimeError: what loading says" in served.log_lines
    failure = fail(house, order("bad", ""))
    assert failure.code is PRECONDITION
    house.undeploy("bad")


def fail(house: House, request: pb.PredictRequest) -> Failure:
    with pytest.raises(grpc.RpcError) as caught:
        house.stub.Predict(request, timeout=30)
    return describe(caught.value)


def test_a_watch_tells_each_state_and_ends_with_the_model(house: House, versions: str) -> None:
    request = {"name": "watched", "modelUri": f"models:/{versions}/1"}
    assert house.rpcs("DeployModel", **request).served_model.state == (
        pb.SERVED_MODEL_STATE_DEPLOYING
    )
    watch = house.stub.WatchServedModel(pb.WatchServedModelRequest(name="watched"), timeout=60)
    states: list[int] = []
    for response in watch:
        served = response.served_model
        if served.state not in states:
            states.append(served.state)
        if served.state == READY and len(states) == 2:
            undeploy = pb.UndeployModelRequest(name="watched")
            ending = house.stub.UndeployModel.future(undeploy, timeout=30)
    ending.result()
    assert states == [
        pb.SERVED_MODEL_STATE_DEPLOYING,
        READY,
        pb.SERVED_MODEL_STATE_DRAINING,
    ]


@pytest.mark.slow
def test_a_model_can_be_named_in_every_way(house: House) -> None:
    """By stage, by `latest`, by run and by logged model: what it resolves to."""
    run_id = house.log.log_misbehaving()
    house.log.register_run("ways", run_id)
    house.rpcs(
        "TransitionModelVersionStage", name="ways", version="1", stage="MODEL_VERSION_STAGE_STAGING"
    )
    for uri, resolved in (
        ("models:/ways/Staging", "models:/ways/1"),
        ("models:/ways/latest", "models:/ways/1"),
        (f"runs:/{run_id}/model", f"runs:/{run_id}/model"),
    ):
        name = house.deploy(uri)
        assert [v.resolved_uri for v in house.get(name).versions] == [resolved]
        assert says(house, name).isdigit()
        house.undeploy(name)


@pytest.mark.slow
def test_what_is_deployed_outlives_a_restart(house: House, versions: str, tmp_path: Path) -> None:
    stores = (
        *("--backend-store-uri", f"sqlite:///{house.folder}/mlflow.db"),
        *("--artifacts-destination", str(house.folder / "mlartifacts")),
    )
    with ServerProcess(tmp_path, *stores) as server, House(tmp_path, server.address) as other:
        environment = [{"name": "GREETING", "value": "s3cr3t"}]
        other.deploy(f"models:/{versions}/1", name="kept", environment=environment)
        other.rpcs("DeployModel", name="gone", modelUri=f"models:/{versions}/1")
        other.undeploy("gone")
        before = other.get("kept")
        assert list(before.environment) == ["GREETING"]
        assert "s3cr3t" not in str(before)
        with ServerProcess(tmp_path, *stores) as second, House(tmp_path, second.address) as refused:
            failure = refused.rpcs.failure(
                "DeployModel", name="n", modelUri=f"models:/{versions}/1"
            )
            assert failure.reason == "SERVING_FOLDER_IN_USE"
        server.signal(signal.SIGKILL)
        server.wait()
    state = tmp_path / "mlserving" / "deployments.json"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert [one["spec"]["name"] for one in json.loads(state.read_text())["deployments"]] == ["kept"]
    with ServerProcess(tmp_path, *stores) as server, House(tmp_path, server.address) as other:
        # The call waits for the replica.
        assert says(other, "kept", "environment GREETING") == "s3cr3t"
        watch = other.stub.WatchServedModel(pb.WatchServedModelRequest(name="kept"), timeout=60)
        assert next(watch).served_model.state == READY
        served = other.get("kept")
        assert (served.state, served.create_time) == (READY, before.create_time)
        server.signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as caught:
            list(watch)
        assert describe(caught.value).reason == "SERVER_STOPPING"
        assert server.wait() == 0
    assert "s3cr3t" not in server.log.read_text()


REFUSED: dict[str, tuple[dict[str, Any], grpc.StatusCode, str]] = {
    "an unknown version": ({"modelUri": "models:/versions/9"}, ABSENT, ""),
    "an unknown model": ({"modelUri": "models:/no such model/1"}, ABSENT, ""),
    "an unknown alias": ({"modelUri": "models:/versions@nobody"}, ABSENT, ""),
    "an unknown run": ({"modelUri": f"runs:/{'0' * 32}/model"}, ABSENT, ""),
    "another scheme": ({"modelUri": "s3://bucket/model"}, INVALID, "model_uri"),
    "a folder": ({"modelUri": "/etc"}, INVALID, "model_uri"),
    "a path that leaves the run": (
        {"modelUri": f"runs:/{'0' * 32}/../../x"},
        INVALID,
        "model_uri",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_model_that_does_not_exist_is_named(house: House, versions: str, what: str) -> None:
    request, code, field = REFUSED[what]
    failure = house.rpcs.failure("DeployModel", name="refused", **request)
    assert (failure.code, failure.fields) == (code, (field,) if field else ()), failure.message
    if code is ABSENT:
        assert request["modelUri"].split("/")[1].split("@")[0] in failure.message
    assert house.rpcs.failure("GetServedModel", name="refused").code is ABSENT
