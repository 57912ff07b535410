"""What a run is made with, as MLflow reads it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from mlflow_grpc import Client
from tests.conftest import Served
from tests.unit.client.driver import Driver

PROGRAM = """
import asyncio, sys
from mlflow_grpc import AsyncClient, Client

def blocking():
    with Client(sys.argv[1]) as client:
        with client.start_run(tags={"own": "tag"}, capture_environment=True) as run:
            print(run.run_id)

async def aio():
    async with AsyncClient(sys.argv[1]) as client:
        async with client.start_run(tags={"own": "tag"}, capture_environment=True) as run:
            print(run.run_id)

blocking() if sys.argv[2] == "sync" else asyncio.run(aio())
"""


def git(folder: Path, *arguments: str) -> str:
    names = {"user.name": "a", "user.email": "a@b", "init.defaultBranch": "trunk"}
    options = [part for key, value in names.items() for part in ("-c", f"{key}={value}")]
    done = subprocess.run(
        ["git", "-C", str(folder), *options, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(("kind", "dirty"), [("sync", "false"), ("aio", "true")])
def test_a_run_records_its_environment(
    served: Served, tmp_path: Path, kind: str, dirty: str
) -> None:
    script = tmp_path / "train.py"
    script.write_text(PROGRAM)
    git(tmp_path, "init")
    git(tmp_path, "remote", "add", "origin", "https://me:hunter2@git.example/x.git")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    if dirty == "true":
        script.write_text(PROGRAM + "# changed\n")
    arguments = [served.address, kind, "--api-key", "hunter2", "--db-password=hunter2", "--lr", "1"]
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "SECRET_OF_THE_SHELL": "hunter2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.strip()
    mlflow = MlflowClient(served.backend_store_uri)
    tags = mlflow.get_run(run_id).data.tags
    wanted = {
        "own": "tag",
        "mlflow.source.name": str(script),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git(tmp_path, "rev-parse", "HEAD"),
        "mlflow.source.git.branch": "trunk",
        "mlflow.source.git.repoURL": "https://git.example/x.git",
        "mlflow.source.git.dirty": dirty,
        "environment.python_version": platform.python_version(),
        "environment.platform": platform.platform(),
    }
    assert {key: tags.get(key) for key in wanted} == wanted
    assert tags["mlflow.user"]
    assert tags["environment.command_line"].endswith("--api-key '***' '--db-password=***' --lr 1")
    with Client(served.address) as client:
        packages = client.read_artifact(run_id, "environment/requirements.txt").decode()
    version = importlib.metadata.version("grpcio")
    assert f"grpcio=={version}\n" in packages
    assert "hunter2" not in json.dumps(tags) + packages


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_data_becomes_datasets(served: Served, tmp_path: Path, kind: str) -> None:
    driver = Driver(kind, served.address)
    run_id = (await driver.call("create_run", "0")).info.run_id
    frame = pd.DataFrame({"x": [1.0, 2.0], "n": [1, 2], "s": ["a", "b"]})
    table = tmp_path / "table.csv"
    frame.to_csv(table)
    import mlflow.data

    theirs = mlflow.data.from_pandas(frame, name="theirs")
    for data, context, options in (
        (frame, "training", {"name": "frame", "source": "s3://bucket/x.csv"}),
        (np.zeros((4, 2)), "testing", {"name": "array"}),
        (table, None, {}),
        (theirs, "validation", {}),
    ):
        await driver.call("log_dataset", run_id, data, context, **options)
    with pytest.raises(TypeError, match="no dataset"):
        await driver.call("log_dataset", run_id, object())
    stored = {
        one.dataset.name: (one.dataset, {tag.key: tag.value for tag in one.tags})
        for one in MlflowClient(served.backend_store_uri).get_run(run_id).inputs.dataset_inputs
    }
    assert set(stored) == {"frame", "array", "table.csv", "theirs"}
    dataset, tags = stored["frame"]
    assert tags == {"mlflow.data.context": "training"}
    assert (dataset.source_type, json.loads(dataset.source)) == ("s3", {"uri": "s3://bucket/x.csv"})
    assert json.loads(dataset.profile) == {"num_rows": 2, "num_elements": 6}
    columns = json.loads(dataset.schema)["mlflow_colspec"]
    assert [(c["name"], c["type"]) for c in columns] == [
        ("x", "double"),
        ("n", "long"),
        ("s", "string"),
    ]
    assert json.loads(stored["array"][0].profile)["features_shape"] == [4, 2]
    # MLflow keeps one dataset for the same name and content, with its first source.
    assert Path(json.loads(stored["table.csv"][0].source)["uri"]).name == "table.csv"
    assert stored["theirs"][0].digest == theirs.digest
    await driver.close()
