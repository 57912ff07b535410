"""Models whose files are elsewhere: in S3, behind an MLflow server, as logged models."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import cloudpickle
import mlflow
import pytest
from mlflow import MlflowClient

from mlflow_grpc import Client
from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from tests.artifacts import wait_for
from tests.benchmarks.processes import rest_server
from tests.integration.serving import models
from tests.integration.serving.house import House, predictions
from tests.servers import ServerProcess

REQUIREMENTS = ["mlflow"]
DEPLOYING = pb.SERVED_MODEL_STATE_DEPLOYING


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    folder = tmp_path_factory.mktemp("files") / "model"
    # A replica knows nothing of the tests.
    cloudpickle.register_pickle_by_value(models)
    mlflow.pyfunc.save_model(folder, python_model=models.Scaling(), pip_requirements=REQUIREMENTS)
    return folder


def log(address: str, files: Path, experiment_id: str = "0") -> str:
    """Log a model to a run through the server; returns the run's artifact URI and id."""
    with Client(address) as client:
        run = client.start_run(experiment_id)
        run.log_artifacts(files, "model")
        run.end()
        return str(run.run_id)


def answer(house: House, name: str) -> list[Any]:
    request = {"dataframe_records": [{"n": 7}]}
    return predictions(house.rpcs("Predict", name=name, json=request))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_in_s3_is_served(bucket: Any, files: Path, tmp_path: Path) -> None:
    """Below the destination, as `mlflow-artifacts:/`, and where an experiment has its own place."""
    destination = ("--artifacts-destination", "s3://artifacts/top")
    with (
        ServerProcess(tmp_path, *destination, "--serving-poll", "0.1") as server,
        House(tmp_path, server.address) as house,
        Client(server.address) as client,
    ):
        own = client.create_experiment("own", artifact_location="s3://artifacts/own")
        for experiment, scheme in (("0", "mlflow-artifacts"), (own, "s3")):
            run_id = log(server.address, files, experiment)
            source = f"{client.get_run(run_id).info.artifact_uri}/model"
            assert source.startswith(f"{scheme}:/")
            client.register_model(f"of-{scheme}", source, run_id=run_id)
            name = house.deploy(f"models:/of-{scheme}/1")
            assert answer(house, name) == [{"n": 7}]
            house.undeploy(name)
        assert any(one.key.startswith("top/") for one in bucket.objects.all())
        kept = tmp_path / "mlserving" / "models"
        assert [path.name for path in kept.iterdir() if not path.name.startswith(".")] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_files_stay_while_they_are_served(bucket: Any, files: Path, tmp_path: Path) -> None:
    """Those of one model for several deployments, and beside a version that cannot be loaded."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "MLmodel").write_text("flavors: {}")
    # So that the deployments bring them at the same time.
    (bad / "large").write_bytes(os.urandom(32 * 2**20))
    kept = tmp_path / "mlserving" / "models"
    destination = ("--artifacts-destination", "s3://artifacts/top", "--serving-poll", "0.1")
    with (
        ServerProcess(tmp_path, *destination) as server,
        House(tmp_path, server.address) as house,
    ):
        good_uri = f"runs:/{log(server.address, files)}/model"
        bad_uri = f"runs:/{log(server.address, bad)}/model"
        for name in "ab":
            house.rpcs("DeployModel", name=name, modelUri=bad_uri)
        for name in "ab":
            served = house.wait(name, lambda served: served.state != DEPLOYING)
            # They are there, but of no flavor.
            assert served.log_lines
            house.undeploy(name)

        name = house.deploy(good_uri)
        failure = house.rpcs.failure(
            "DeployModel", name=name, modelUri=bad_uri, waitUntilReady=True
        )
        assert failure.reason == "MODEL_NOT_LOADED"
        wait_for(lambda: len([one for one in kept.iterdir() if one.name[0] != "."]) == 1)
        os.kill(house.get(name).versions[0].replicas[0].pid, signal.SIGKILL)
        assert answer(house, name) == [{"n": 7}]


def test_a_logged_model_is_served(house: House, files: Path) -> None:
    store = f"sqlite:///{house.folder}/mlflow.db"
    client = MlflowClient(store, store)
    logged = client.create_logged_model("0", name="lonely")
    place = logged.artifact_location.removeprefix("mlflow-artifacts:/")
    place = place.removeprefix((house.folder / "mlartifacts").as_uri()).lstrip("/")
    uri = f"models:/{logged.model_id}"
    failure = house.rpcs.failure("DeployModel", name="x", modelUri=uri, waitUntilReady=True)
    assert "no MLmodel" in failure.message
    house.undeploy("x")
    (house.folder / "mlartifacts" / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(files, house.folder / "mlartifacts" / place, dirs_exist_ok=True)
    name = house.deploy(uri)
    assert [version.resolved_uri for version in house.get(name).versions] == [uri]
    assert answer(house, name) == [{"n": 7}]
    house.undeploy(name)


def test_no_host_is_called_for_a_model(house: House) -> None:
    with Client(house.address) as client:
        client.register_model("far", "http://127.0.0.1:1/secret")
    failure = house.rpcs.failure(
        "DeployModel", name="far", modelUri="models:/far/1", waitUntilReady=True
    )
    assert failure.reason == "MODEL_NOT_LOADED"
    assert "at a http address, where this server does not go" in failure.message
    house.undeploy("far")


@pytest.mark.slow
def test_a_model_behind_an_mlflow_server_is_served(files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "front"
    folder.mkdir()
    with (
        rest_server(tmp_path, serve_artifacts=True, workers=1) as url,
        ServerProcess(folder, "--backend-store-uri", url) as server,
        House(folder, server.address) as house,
    ):
        run_id = log(server.address, files)
        name = house.deploy(f"runs:/{run_id}/model")
        assert answer(house, name) == [{"n": 7}]
