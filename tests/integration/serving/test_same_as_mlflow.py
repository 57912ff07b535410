"""The same inputs here and at `mlflow models serve`: the same answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from tests.integration.serving.house import House
from tests.integration.serving.models import COLUMNS
from tests.servers import free_port

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.5, 4.5, 1.5], [7.7, 3.0, 6.1, 2.3], [5, 3, 1, 0]]
RECORDS = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
BY_COLUMN = {column: [row[i] for row in ROWS] for i, column in enumerate(COLUMNS)}
SHUFFLED = [{column: record[column] for column in reversed(COLUMNS)} for record in RECORDS]

BODIES: dict[str, list[dict[str, Any]]] = {
    "forest": [
        {"dataframe_split": {"columns": COLUMNS, "data": ROWS}},
        {"dataframe_split": {"columns": COLUMNS, "index": [3, 1, 2, 0], "data": ROWS}},
        {"dataframe_records": RECORDS},
        {"dataframe_records": SHUFFLED},
        {"dataframe_records": [{**RECORDS[0], "one too many": 1}]},
        {"dataframe_records": [{**RECORDS[0], COLUMNS[0]: None}]},
        {"instances": RECORDS},
        {"inputs": BY_COLUMN},
        {"inputs": ROWS},
        {"instances": ROWS},
        {"dataframe_records": [{COLUMNS[0]: 1.0}]},
        {"dataframe_records": [{**RECORDS[0], COLUMNS[0]: "text"}]},
        {"dataframe_split": {"columns": COLUMNS, "data": [[1.0]]}},
        {"inputs": ROWS, "instances": ROWS},
        {"rows": ROWS},
        {},
    ],
    "tensor_forest": [
        {"inputs": ROWS},
        {"instances": ROWS},
        {"inputs": [[1, 2, 3, 4]]},
        {"inputs": [[1.0, 2.0, 3.0, 4.0], [1.0]]},
        {"inputs": [["a", "b", "c", "d"]]},
        {"inputs": [[1.0]]},
        {"dataframe_split": {"data": ROWS}},
    ],
    "scaling": [
        {"dataframe_records": [{"n": 7}, {"n": 8}]},
        {"dataframe_records": [{"n": 7}], "params": {"factor": 3}},
        {"dataframe_records": [{"n": 7}], "params": {"factor": "three"}},
        {"dataframe_records": [{"n": 7}], "params": {"unknown": 3}},
        {"dataframe_records": [{"n": 7.5}]},
        {"dataframe_records": [{"n": 7}, {"n": None}]},
        {"inputs": {"n": [7, 8]}},
        {"inputs": [7, 8]},
        {"instances": [{"n": 7}]},
        {"dataframe_records": [{"n": 2**53}]},
    ],
}


@contextmanager
def models_serve(path: Path, folder: Path) -> Iterator[str]:
    """`mlflow models serve`; yields the URL of its `/invocations`."""
    port = free_port()
    with (folder / "mlflow.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "models", "serve", "-m", str(path)),
                *("--env-manager", "local", "--port", str(port), "--workers", "1"),
            ],
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": path_of_programs()},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        while not answers(url):
            assert process.poll() is None, (folder / "mlflow.log").read_text()
        yield f"{url}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def path_of_programs() -> str:
    """Return a PATH that finds uvicorn, which MLflow starts by its name."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=5):
            return True
    except OSError:
        return False


def ask_mlflow(url: str, body: dict[str, Any]) -> tuple[bool, Any]:
    """Return whether MLflow answers, and what."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return True, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return False, error.code


def ask(house: House, name: str, body: dict[str, Any]) -> tuple[bool, Any]:
    """Return whether this server answers, and what."""
    request = pb.PredictRequest(name=name)
    request.json.update(body)
    try:
        response = house.stub.Predict(request, timeout=30)
    except grpc.RpcError as error:
        return False, error.code()
    return True, json_format.MessageToDict(response.json)


# A refusal of MLflow's is this server's INVALID_ARGUMENT, but for what the model itself raises.
REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL}


@pytest.mark.parametrize(
    "kind",
    [
        "forest",
        pytest.param("tensor_forest", marks=pytest.mark.slow),
        pytest.param("scaling", marks=pytest.mark.slow),
    ],
)
def test_every_body_has_the_answer_that_mlflow_gives(
    house: House, kind: str, tmp_path: Path
) -> None:
    uri = house.model(kind)
    source = house.rpcs("GetModelVersion", name=kind, version="1").model_version.source
    path = house.folder / "mlartifacts" / source.removeprefix("mlflow-artifacts:/")
    name = house.deploy(uri)
    answered = 0
    with models_serve(path, tmp_path) as url:
        for body in BODIES[kind]:
            theirs, ours = ask_mlflow(url, body), ask(house, name, body)
            assert theirs[0] == ours[0], (body, theirs, ours)
            answered += theirs[0]
            if theirs[0]:
                assert theirs == ours, body
            else:
                assert theirs[1] == 400
                assert ours[1] in REFUSALS
    assert answered >= 3
    house.undeploy(name)
