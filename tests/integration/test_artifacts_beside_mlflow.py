"""Files in every kind of database's runs and models, and seen by MLflow's own server beside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlflow_grpc import Client, InvalidArgumentError, NotFoundError
from tests import artifacts
from tests.benchmarks.processes import rest_server
from tests.databases import sqlite_uri
from tests.servers import ServerProcess
from tests.unit.client.driver import Driver
from tests.unit.server.test_artifact_paths import STORED

KINDS = ["sync", pytest.param("aio", marks=pytest.mark.slow)]
# Each in a folder of its own, as some are folders of others.
NAMES = {f"{number}/{name}": name.encode() for number, name in enumerate(STORED)}


@dataclass(frozen=True)
class Both:
    """`mlflow server` and ours over one database and one destination."""

    folder: Path
    address: str
    url: str
    client: Client
    mlflow: MlflowClient


@pytest.fixture(
    scope="module",
    params=["sqlite", *(pytest.param(d, marks=pytest.mark.slow) for d in ("postgres", "mariadb"))],
)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("both")
    if request.param == "sqlite":
        uri = sqlite_uri(folder)
    else:
        uri = request.getfixturevalue(request.param)
    place = (folder / "artifacts").as_uri()
    arguments = ("--backend-store-uri", uri, "--artifacts-destination", place)
    with (
        ServerProcess(folder, *arguments) as server,
        rest_server(folder, serve_artifacts=True, workers=1, uri=uri) as url,
        Client(server.address) as client,
    ):
        yield Both(folder, server.address, url, client, MlflowClient(url, url))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of many names and sizes."""
    for name, data in {**NAMES, "deep/er/large": os.urandom(9 * 2**20), "deep/none": b""}.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    return tmp_path / "in"


def walked(mlflow: MlflowClient, run_id: str, path: str | None = None) -> set[tuple[str, bool]]:
    """Every file and folder, as MLflow's UI lists them one folder after the other."""
    found = set()
    for info in mlflow.list_artifacts(run_id, path):
        found.add((info.path, bool(info.is_dir), info.file_size or 0))
        if info.is_dir:
            found |= walked(mlflow, run_id, info.path)
    return found


def listed(client: Client, run_id: str) -> set[tuple[str, bool]]:
    return {
        (one.path, one.is_dir, one.file_size or 0)
        for one in client.list_artifacts(run_id, recursive=True)
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_mlflow_opens_what_is_logged_here(
    both: Both, folder: Path, tmp_path: Path, kind: str
) -> None:
    driver = Driver(kind, both.address)
    run_id = (await driver.call("create_run", "0")).info.run_id
    await driver.call("log_artifacts", run_id, folder)
    assert walked(both.mlflow, run_id) == listed(both.client, run_id)
    (tmp_path / "out").mkdir()
    got = both.mlflow.download_artifacts(run_id, "", str(tmp_path / "out"))
    assert artifacts.files_below(got) == artifacts.files_below(folder)
    await driver.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_mlflow_logs_is_opened_here(
    both: Both, folder: Path, tmp_path: Path, kind: str
) -> None:
    run_id = both.mlflow.create_run("0").info.run_id
    both.mlflow.log_artifacts(run_id, str(folder), "top")
    both.mlflow.log_text(run_id, "one", "one.txt")
    assert walked(both.mlflow, run_id) == listed(both.client, run_id)
    driver = Driver(kind, both.address)
    place = await driver.call("download_artifacts", run_id, "top", tmp_path / "out")
    assert artifacts.files_below(place) == artifacts.files_below(folder)
    assert await driver.call("read_artifact", run_id, "one.txt") == b"one"
    # Either replaces what the other has stored.
    await driver.call("log_text", run_id, "two", "one.txt")
    assert both.mlflow.download_artifacts(run_id, "one.txt", str(tmp_path)).endswith("one.txt")
    assert (tmp_path / "one.txt").read_text() == "two"
    await driver.close()


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_models_and_versions(both: Both, tmp_path: Path, kind: str) -> None:
    """Those that either made are listed, read and downloaded by every form of their URIs."""
    driver = Driver(kind, both.address)
    run_id = (await driver.call("create_run", "0")).info.run_id
    model = both.mlflow.create_logged_model("0", name="m", source_run_id=run_id)
    logged = f"models:/{model.model_id}"
    await driver.call("log_artifacts", logged, _folder(tmp_path, "logged"))
    await driver.call("log_artifacts", run_id, _folder(tmp_path, "of the run"), "plain")
    name = f"versions-{run_id}"
    await driver.call("register_model", name, logged, model_id=model.model_id)
    both.mlflow.create_registered_model(f"{name}-theirs")
    both.mlflow.create_model_version(f"{name}-theirs", logged, model_id=model.model_id)
    await driver.call("register_model", name, f"runs:/{run_id}/plain")
    await driver.call("set_registered_model_alias", name, "best", "2")
    await driver.call("transition_model_version_stage", name, "1", "Staging")
    for uri, content in (
        (logged, b"logged"),
        (f"models:/{name}/1", b"logged"),
        (f"models:/{name}/Staging", b"logged"),
        (f"models:/{name}-theirs/1", b"logged"),
        (f"models:/{name}/2", b"of the run"),
        (f"models:/{name}/latest", b"of the run"),
        (f"models:/{name}@best", b"of the run"),
    ):
        found = await driver.call("list_artifacts", uri, recursive=True)
        assert [one.path for one in found] == ["MLmodel", "data", "data/model.bin"]
        assert await driver.call("read_artifact", uri, "MLmodel") == content
        place = await driver.call("download_artifacts", uri)
        assert artifacts.files_below(place) == {"MLmodel": content, "data/model.bin": content * 9}
        one = await driver.call("download_artifacts", uri, "data/model.bin", tmp_path / "one")
        assert artifacts.content(one) == content * 9
    for uri in (
        f"models:/{name}/3",
        f"models:/{name}@worst",
        f"models:/{name}",
        "models:/m-no",
        "models:/none/1",
    ):
        with pytest.raises(NotFoundError):
            await driver.call("read_artifact", uri, "MLmodel")
        with pytest.raises(NotFoundError):
            await driver.call("download_artifacts", uri, "", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    for uri in ("models:", "models:/", f"models:/{name}/1/x", "models://h/a/1"):
        with pytest.raises(InvalidArgumentError):
            await driver.call("read_artifact", uri, "MLmodel")
    with pytest.raises(InvalidArgumentError, match="never changes"):
        await driver.call("log_text", f"models:/{name}/1", "x", "x")
    await driver.close()


def _folder(tmp_path: Path, content: str) -> Path:
    folder = tmp_path / content
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text(content)
    (folder / "data" / "model.bin").write_text(content * 9)
    return folder


def test_in_front_of_mlflow_server(both: Both, tmp_path: Path) -> None:
    """A server of ours whose tracking store is `mlflow server` reads and writes through it."""
    run_id = both.mlflow.create_run("0").info.run_id
    both.mlflow.log_text(run_id, "from MLflow", "theirs.txt")
    staging = ("--artifacts-staging", str(tmp_path / "staging"))
    arguments = ("--backend-store-uri", both.url, *staging)
    with ServerProcess(tmp_path, *arguments) as front, Client(front.address) as client:
        assert client.read_artifact(run_id, "theirs.txt") == b"from MLflow"
        client.log_text(run_id, "through MLflow", "front/ours.txt")
        assert client.read_artifact(run_id, "front/ours.txt") == b"through MLflow"
        assert [one.path for one in client.list_artifacts(run_id, "front")] == ["front/ours.txt"]
        assert both.mlflow.list_artifacts(run_id, "front")[0].path == "front/ours.txt"
    assert list((tmp_path / "staging").iterdir()) == []
