"""Serving by a target of `mlflow.deployments`: a plugin, as users have them for clusters."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from tests.integration.serving.house import House, predictions
from tests.rpc import describe
from tests.servers import ServerProcess

PLUGIN = Path(__file__).parent / "target"


def ask(house: House, name: str) -> list[object]:
    request = pb.PredictRequest(name=name)
    request.json.update({"dataframe_records": [{"n": 7}]})
    return predictions(house.stub.Predict(request, timeout=60))


@pytest.mark.slow
def test_a_target_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    shelf = tmp_path / "shelf.json"
    target = ("--serving-target", f"shelf:{shelf}", "--serving-poll", "0.1")
    with ServerProcess(tmp_path, *target) as server, House(tmp_path, server.address) as house:
        uri = house.model("scaling")
        house.log.scaling("scaling")
        name = house.deploy(uri, name="on-the-shelf", replicas=3)
        assert json.loads(shelf.read_text())[name]["config"] == {"replicas": 3}
        served = house.get(name)
        assert served.state == pb.SERVED_MODEL_STATE_READY
        assert [version.resolved_uri for version in served.versions] == [uri]
        assert ask(house, name) == [{"n": 7}]

        house.deploy("models:/scaling/2", name=name)
        assert json.loads(shelf.read_text())[name]["model_uri"] == "models:/scaling/2"

        failure = house.rpcs.failure(
            "DeployModel", name="bad", modelUri=uri, replicas=13, waitUntilReady=True
        )
        assert failure.reason == "MODEL_NOT_LOADED"
        assert "secret words" not in failure.message
        assert house.get("bad").state == pb.SERVED_MODEL_STATE_FAILED
        house.undeploy("bad")

        split = [{"modelUri": uri, "weight": 1}, {"modelUri": "models:/scaling/2", "weight": 1}]
        failure = house.rpcs.failure("DeployModel", name="split", models=split)
        assert failure.fields == ("models",)
        with pytest.raises(grpc.RpcError) as caught:
            ask(house, "absent")
        assert describe(caught.value).code is grpc.StatusCode.NOT_FOUND

    # The target remembers, and not the server.
    with ServerProcess(tmp_path, *target) as server, House(tmp_path, server.address) as house:
        (served,) = house.rpcs("ListServedModels").served_models
        assert (served.name, served.state) == (name, pb.SERVED_MODEL_STATE_READY)
        assert ask(house, name) == [{"n": 7}]
        watch = house.stub.WatchServedModel(pb.WatchServedModelRequest(name=name), timeout=60)
        assert next(watch).served_model.name == name
        house.undeploy(name)
        assert list(watch) == []
        assert json.loads(shelf.read_text()) == {}
