"""What a run is made with, as MLflow reads it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from mlflow_grpc import Client
from tests.conftest import Served

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


BESIDE = """
import json, sys
import mlflow, pandas
from mlflow_grpc import Client

frame = pandas.DataFrame({"x": [1.0, 2.0], "s": ["a", "b"]})
tables = [("with code", None), ("with file", "/data/x.csv")]
mlflow.set_tracking_uri(sys.argv[2])
mlflow.set_experiment(experiment_id=sys.argv[3])
with mlflow.start_run(run_name="r") as theirs:
    for name, source in tables:
        mlflow.log_input(mlflow.data.from_pandas(frame, name=name, source=source), "training")
with Client(sys.argv[1]) as client:
    other = client.create_experiment("of " + sys.argv[3])
    with client.start_run(other, run_name="r", capture_environment=True) as ours:
        for name, source in tables:
            ours.log_dataset(frame, "training", name=name, source=source)
print(json.dumps([theirs.info.run_id, ours.run_id]))
"""
# What MLflow does not record.
MORE_TAGS = {
    "mlflow.source.git.dirty",
    "environment.python_version",
    "environment.platform",
    "environment.command_line",
}


@pytest.mark.parametrize(
    "place",
    ["here", *(pytest.param(p, marks=pytest.mark.slow) for p in ("below", "ignored", "detached"))],
)
def test_a_run_holds_what_one_of_mlflow_does(served: Served, tmp_path: Path, place: str) -> None:
    """The same program starts a run of each kind: user, source, commit and datasets are equal."""
    script = tmp_path / ("train.py" if place == "here" else "some/where/train.py")
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(BESIDE)
    (tmp_path / ".gitignore").write_text("some\n" if place == "ignored" else "")
    git(tmp_path, "init")
    for name in ("second", "origin"):
        git(tmp_path, "remote", "add", name, f"https://me:hunter2@git.example/{name}.git")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    if place == "detached":
        git(tmp_path, "checkout", "--detach")
    mlflow = MlflowClient(served.backend_store_uri)
    experiment_id = mlflow.create_experiment(f"{tmp_path}")
    arguments = [served.address, served.backend_store_uri, experiment_id]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script.relative_to(tmp_path)), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    theirs, ours = map(mlflow.get_run, json.loads(done.stdout.splitlines()[-1]))
    tags = {key: value for key, value in ours.data.tags.items() if key not in MORE_TAGS}
    assert tags == theirs.data.tags
    assert ("mlflow.source.git.commit" in tags) is (place != "ignored")
    assert MORE_TAGS - {"mlflow.source.git.dirty"} <= set(ours.data.tags)
    assert ours.info.user_id == theirs.info.user_id
    assert _inputs(ours) == _inputs(theirs)
    assert len(_inputs(ours)) == 2
    assert "hunter2" not in json.dumps(ours.to_dictionary())


def _inputs(run: Run) -> list[str]:
    return sorted(json.dumps(one.to_dictionary()) for one in run.inputs.dataset_inputs)
