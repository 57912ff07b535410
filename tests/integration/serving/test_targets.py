"""Serving by a target of `mlflow.deployments`: a plugin, as users have them for clusters."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from tests.artifacts import wait_for
from tests.integration.serving.house import House, predictions
from tests.integration.serving.test_arrow import with_a_wild_offset
from tests.rpc import describe
from tests.servers import ServerProcess

PLUGIN = Path(__file__).parent / "target"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("target")


@pytest.fixture(scope="module")
def start(folder: Path) -> Callable[[], ServerProcess]:
    """Starts a server over the target, with the stores of those before."""

    def start() -> ServerProcess:
        uri = f"shelf:{folder}/shelf.json?token=hunter2"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(PLUGIN))
            return ServerProcess(folder, "--serving-target", uri, "--serving-poll", "0.1")

    return start


@pytest.fixture(scope="module")
def house(folder: Path, start: Callable[[], ServerProcess]) -> Iterator[House]:
    with start() as server, House(folder, server.address) as house:
        house.model("scaling")
        house.log.scaling("scaling")
        yield house


def shelf(house: House) -> dict[str, Any]:
    """What the target has."""
    parsed: dict[str, Any] = json.loads((house.folder / "shelf.json").read_text())
    return parsed


def ask(house: House, name: str) -> list[object]:
    request = pb.PredictRequest(name=name)
    request.json.update({"dataframe_records": [{"n": 7}]})
    return predictions(house.stub.Predict(request, timeout=60))


def deploying(house: House, name: str, version: int, **environment: str) -> grpc.Future:
    """A deployment that is waited for."""
    uri = f"models:/scaling/{version}"
    request = pb.DeployModelRequest(name=name, model_uri=uri, wait_until_ready=True)
    for key, value in environment.items():
        request.environment.add(name=key, value=value)
    return house.stub.DeployModel.future(request, timeout=60)


def test_a_target_takes_over(house: House) -> None:
    name = house.deploy("models:/scaling/1", replicas=3)
    assert shelf(house)[name]["config"] == {"replicas": 3}
    served = house.get(name)
    assert served.state == pb.SERVED_MODEL_STATE_READY
    assert [version.resolved_uri for version in served.versions] == ["models:/scaling/1"]
    assert ask(house, name) == [{"n": 7}]

    house.deploy("models:/scaling/2", name=name)
    assert shelf(house)[name]["model_uri"] == "models:/scaling/2"
    house.undeploy(name)
    assert name not in shelf(house)
    assert house.rpcs.failure("UndeployModel", name=name).code is grpc.StatusCode.NOT_FOUND


def test_a_target_streams(house: House) -> None:
    name = house.deploy("models:/scaling/1")
    request = pb.PredictStreamRequest(name=name)
    request.json.update({"dataframe_records": [{"n": 7}, {"n": 8}]})
    answers = house.stub.PredictStream(request, timeout=60)
    assert [dict(next(answers).item.struct_value) for _ in range(2)] == [{"n": 7}, {"n": 8}]
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert describe(caught.value).code is grpc.StatusCode.INVALID_ARGUMENT
    assert describe(caught.value).message == "no more"


def test_an_answer_that_takes_long_holds_up_nothing_else(house: House, tmp_path: Path) -> None:
    go = tmp_path / "go"
    name = house.deploy("models:/scaling/1", environment=[{"name": "ANSWER", "value": str(go)}])
    request = pb.PredictRequest(name=name)
    request.json.update({"dataframe_records": [{"n": 7}]})
    answer = house.stub.Predict.future(request, timeout=60)
    wait_for((tmp_path / "go.waiting").exists)
    assert house.get(name).name == name
    go.touch()
    assert predictions(answer.result()) == [{"n": 7}]


def test_a_stream_is_closed_after_its_step_when_nobody_reads_it(
    house: House, tmp_path: Path
) -> None:
    step, closed = tmp_path / "step", tmp_path / "closed"
    environment = [{"name": "STEP", "value": str(step)}, {"name": "CLOSED", "value": str(closed)}]
    name = house.deploy("models:/scaling/1", environment=environment)
    request = pb.PredictStreamRequest(name=name)
    request.json.update({"dataframe_records": [{"n": 7}, {"n": 8}]})
    call = house.stub.PredictStream(request, timeout=60)
    assert dict(next(call).item.struct_value) == {"n": 7}
    wait_for((tmp_path / "step.waiting").exists)
    call.cancel()
    assert house.get(name).name == name
    assert not closed.exists()
    step.touch()
    wait_for(lambda: closed.exists() and closed.read_text())
    assert closed.read_text() not in ("while it runs", "MainThread")


def test_input_that_cannot_be_read_is_refused(house: House) -> None:
    name = house.deploy("models:/scaling/1")
    for payload, field in (
        ({"json": {"inputs": [[1], [1, 2]]}}, "payload"),
        ({"json": {"rows": []}}, "payload"),
        ({"arrow": base64.b64encode(with_a_wild_offset()).decode()}, "arrow"),
        ({"tensors": {}}, "tensors.tensors"),
    ):
        failure = house.rpcs.failure("Predict", name=name, **payload)
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))
    assert ask(house, name) == [{"n": 7}]


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"RAISE": "words of a cluster"}, "The serving target failed (RuntimeError)."),
        ({"REFUSE": "no room"}, "no room at shelf:{folder}/shelf.json?token=***"),
    ],
)
def test_what_a_target_cannot_deploy(
    house: House, environment: dict[str, str], reason: str
) -> None:
    failure = house.rpcs.failure(
        "DeployModel",
        name="bad",
        modelUri="models:/scaling/1",
        environment=[{"name": key, "value": value} for key, value in environment.items()],
        waitUntilReady=True,
    )
    reason = reason.format(folder=house.folder)
    assert failure.reason == "MODEL_NOT_LOADED"
    assert failure.message == f"The model 'bad' cannot be served: {reason}"
    served = house.get("bad")
    assert (served.state, served.state_reason) == (pb.SERVED_MODEL_STATE_FAILED, reason)
    house.undeploy("bad")
    assert house.rpcs.failure("GetServedModel", name="bad").code is grpc.StatusCode.NOT_FOUND


def test_what_a_target_does_not_take(house: House) -> None:
    name = house.deploy("models:/scaling/1")
    shares = [{"modelUri": f"models:/scaling/{version}", "weight": 1} for version in (1, 2)]
    assert house.rpcs.failure("DeployModel", name="split", models=shares).fields == ("models",)
    payload = {"dataframe_records": [{"n": 7}], "params": {"factor": 2}}
    assert house.rpcs.failure("Predict", name=name, json=payload).reason == "NO_PARAMS"
    with pytest.raises(grpc.RpcError) as caught:
        list(
            house.stub.PredictStream(
                json_format.ParseDict({"name": name, "json": payload}, pb.PredictStreamRequest()),
                timeout=60,
            )
        )
    assert describe(caught.value).reason == "NO_PARAMS"
    with pytest.raises(grpc.RpcError) as caught:
        ask(house, "absent")
    assert describe(caught.value).code is grpc.StatusCode.NOT_FOUND


def test_deployments_of_a_name_follow_each_other(house: House, tmp_path: Path) -> None:
    first = deploying(house, "twice", 1, WAIT=str(tmp_path / "go"), RAISE="it is full")
    wait_for((tmp_path / "go.waiting").exists)
    second = deploying(house, "twice", 2)
    house.wait("twice", lambda served: served.versions[0].model_uri == "models:/scaling/2")
    assert house.get("twice").state == pb.SERVED_MODEL_STATE_DEPLOYING
    (tmp_path / "go").touch()
    served = second.result().served_model
    assert (served.state, served.state_reason) == (pb.SERVED_MODEL_STATE_READY, "")
    assert describe(first.exception()).reason == "MODEL_NOT_LOADED"


def test_what_is_being_deployed_is_undeployed_after(house: House, tmp_path: Path) -> None:
    going = deploying(house, "brief", 1, WAIT=str(tmp_path / "go"))
    wait_for((tmp_path / "go.waiting").exists)
    undeploying = house.stub.UndeployModel.future(pb.UndeployModelRequest(name="brief"), timeout=60)
    assert house.get("brief").state == pb.SERVED_MODEL_STATE_DEPLOYING
    (tmp_path / "go").touch()
    undeploying.result()
    assert going.exception() is None or describe(going.exception()).reason == "NOT_FOUND"
    assert "brief" not in shelf(house)


def test_the_target_remembers_and_not_the_server(
    house: House, start: Callable[[], ServerProcess]
) -> None:
    name = house.deploy("models:/scaling/1")
    with start() as server, House(house.folder, server.address) as other:
        listed = {
            served.name: served.state for served in other.rpcs("ListServedModels").served_models
        }
        assert listed[name] == pb.SERVED_MODEL_STATE_READY
        assert ask(other, name) == [{"n": 7}]
        watch = other.stub.WatchServedModel(pb.WatchServedModelRequest(name=name), timeout=60)
        assert next(watch).served_model.name == name
        other.undeploy(name)
        assert list(watch) == []
    assert name not in shelf(house)
