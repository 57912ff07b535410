"""Odd names and links, through a server: stored faithfully, or refused, and nothing outside."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings

from mlflow_grpc import (
    ActiveRun,
    Client,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from tests import artifacts
from tests.artifacts import pb, whole
from tests.conftest import Served
from tests.rpc import describe
from tests.unit.client.driver import Driver
from tests.unit.server.test_artifact_paths import REFUSED, any_path, store_odd_names

NOT_TEXT = os.fsdecode(b"\xff.txt")
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client


@pytest.fixture
def run(client: Client) -> ActiveRun:
    return client.start_run()


@pytest.fixture
def stub(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.address) as channel:
        yield artifacts.stub(channel)


def folder_of(served: Served, run: ActiveRun) -> Path:
    """Where the server keeps the artifacts of a run."""
    return served.folder / "mlartifacts" / "0" / run.run_id / "artifacts"


def calls(stub: Any, run_id: str, path: str) -> dict[str, Any]:
    """What every RPC that takes a path does with one: what it returns, or its failure."""
    found = {}
    for name, call in (
        ("log", lambda: artifacts.log(stub, run_id, whole(path, b"data"))),
        ("held", lambda: stub.GetArtifactUpload(
            pb.GetArtifactUploadRequest(run_id=run_id, path=path, upload_id="u"))),
        ("list", lambda: stub.ListArtifacts(pb.ListArtifactsRequest(run_id=run_id, path=path))),
        ("download", lambda: b"".join(chunk.data for message in stub.DownloadArtifact(
            pb.DownloadArtifactRequest(run_id=run_id, paths=[path])) for chunk in message.chunks)),
    ):  # fmt: skip
        try:
            found[name] = call()
        except grpc.RpcError as error:
            found[name] = describe(error)
    return found


@pytest.mark.parametrize("path", REFUSED)
def test_every_call_refuses(served: Served, run: ActiveRun, stub: Any, path: str) -> None:
    """What is not stored is not there to be read, whether or not others could have stored it."""
    for name, failure in calls(stub, run.run_id, path).items():
        if name in ("log", "held") or failure.code is not grpc.StatusCode.NOT_FOUND:
            assert failure.code is grpc.StatusCode.INVALID_ARGUMENT, name
            assert failure.fields == (
                {"log": "chunks[0].path", "download": "paths[0]"}.get(name, "path"),
            )
    assert not folder_of(served, run).exists()


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_what_others_stored_is_read_by_the_path_listed(
    served: Served, run: ActiveRun, tmp_path: Path, kind: str
) -> None:
    """Under names that cannot be logged: one by one, by folder, and all together."""
    files = store_odd_names(folder_of(served, run))
    driver = Driver(kind, served.address)
    listed = await driver.call("list_artifacts", run.run_id, recursive=True)
    assert {one.path for one in listed if not one.is_dir} == set(files)
    for path, data in files.items():
        assert await driver.call("read_artifact", run.run_id, path) == data
    for path in (one.path for one in listed if one.is_dir):
        place = await driver.call("download_artifacts", run.run_id, path, tmp_path / "some")
        assert place == str(tmp_path / "some" / path)
    inside = {path: data for path, data in files.items() if "/" in path}
    assert artifacts.files_below(tmp_path / "some") == inside
    place = await driver.call("download_artifacts", run.run_id, "", tmp_path / "all")
    assert artifacts.files_below(place) == files
    await driver.close()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(path=any_path)
def test_any_path(served: Served, stub: Any, client: Client, path: str) -> None:
    """Each is stored as it is spelled or refused, by every call and never as a fault of ours."""
    run = client.start_run()
    folder = folder_of(served, run)
    folder.mkdir(parents=True)
    (folder / "link").symlink_to(served.folder)
    (folder / "a").symlink_to("/etc/passwd")
    above = {str(one) for one in folder.parent.rglob("*")}
    found = calls(stub, run.run_id, path)
    if hasattr(found["log"], "artifacts"):
        assert found["download"] == b"data"
        assert [one.path for one in found["list"].artifacts] == [path]
        above |= {str(one) for one in (folder / path, *(folder / path).parents)}
    else:
        assert {found["log"].code, found["download"].code} <= REFUSALS
        assert all(getattr(one, "code", None) in {None, *REFUSALS} for one in found.values())
    assert {str(one) for one in folder.parent.rglob("*")} <= above
    for name in os.listdir(served.folder):
        assert name in {"log", "mlartifacts", "mlserving"} or name.startswith("mlflow.db")


def test_links_in_the_folder_of_a_run(
    served: Served, run: ActiveRun, client: Client, tmp_path: Path
) -> None:
    """Whoever put them there: they are not shown, not followed and not written through."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret").write_text("secret")
    run.log_text("real", "deep/real")
    folder = folder_of(served, run)
    (folder / "folder").symlink_to(tmp_path / "out")
    (folder / "file").symlink_to(tmp_path / "out" / "secret")
    (folder / "deep" / "loop").symlink_to(folder)
    listed = [one.path for one in run.list_artifacts(recursive=True)]
    assert listed == ["deep", "deep/real"]
    place = run.download_artifacts(dst_path=tmp_path / "got")
    assert artifacts.files_below(place) == {"deep/real": b"real"}
    for path in ("folder/secret", "file", "deep/loop/deep/real", "folder"):
        with pytest.raises(NotFoundError):
            client.read_artifact(run.run_id, path)
    with pytest.raises(FailedPreconditionError):
        run.log_text("new", "folder/new")
    run.log_text("new", "file")
    assert artifacts.files_below(tmp_path / "out") == {"secret": b"secret"}
    assert client.read_artifact(run.run_id, "file") == b"new"


def test_normal_forms_are_names_of_their_own(run: ActiveRun, client: Client) -> None:
    forms = [unicodedata.normalize(form, "né") for form in ("NFC", "NFD")]
    for form in forms:
        run.log_text(form, f"{form}/{form}")
    assert sorted(one.path for one in run.list_artifacts()) == sorted(forms)
    for form in forms:
        assert client.read_artifact(run.run_id, f"{form}/{form}") == form.encode()


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_links_below_a_folder_that_is_logged(
    served: Served, run: ActiveRun, tmp_path: Path, kind: str
) -> None:
    """They count as what they lead to; what leads nowhere or back is refused before all else."""
    driver = Driver(kind, served.address)
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "far").write_text("far")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "near").write_text("near")
    (folder / "file").symlink_to(tmp_path / "out" / "deep" / "far")
    (folder / "relative").symlink_to("near")
    (folder / "folder").symlink_to(tmp_path / "out")
    (folder / "twice").symlink_to(tmp_path / "out" / "deep")
    await driver.call("log_artifacts", run.run_id, folder)
    assert artifacts.files_below(folder_of(served, run)) == {
        "near": b"near",
        "file": b"far",
        "relative": b"near",
        "folder/deep/far": b"far",
        "twice/far": b"far",
    }
    for name, target, error, words in (
        ("zz", tmp_path / "none", FileNotFoundError, "zz"),
        ("back", folder, ValueError, "leads back"),
        ("over", tmp_path, ValueError, "leads back"),
    ):
        (folder / name).symlink_to(target)
        with pytest.raises(error, match=words):
            await driver.call("log_artifacts", run.run_id, folder, name)
        (folder / name).unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(ValueError, match="pipe is no regular file"):
        await driver.call("log_artifacts", run.run_id, folder, "pipe")
    assert [one.path for one in run.list_artifacts()] == [
        "file",
        "folder",
        "near",
        "relative",
        "twice",
    ]
    await driver.close()


def test_names_that_are_no_text(served: Served, run: ActiveRun, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are refused by name, and hide no other file of a run."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "fine").write_text("x")
    (tmp_path / "in" / NOT_TEXT).write_text("x")
    for log in (
        lambda: run.log_artifacts(tmp_path / "in"),
        lambda: run.log_artifact(tmp_path / "in" / NOT_TEXT),
        lambda: run.log_text("x", "x\ud800"),
    ):
        with pytest.raises(ValueError, match=r"'.*\\ud[c8].*' is no text"):
            log()
    run.log_text("x", "deep/fine")
    (folder_of(served, run) / NOT_TEXT).write_text("x")
    (folder_of(served, run) / "deep" / NOT_TEXT).mkdir()
    assert [one.path for one in run.list_artifacts(recursive=True)] == ["deep", "deep/fine"]
    assert artifacts.files_below(run.download_artifacts()) == {"deep/fine": b"x"}


def test_a_refused_name_is_said(run: ActiveRun, tmp_path: Path) -> None:
    for name in ("a.txt", "b#1.txt", "c.txt"):
        (tmp_path / name).write_text("x")
    with pytest.raises(InvalidArgumentError, match=r"'top/b#1\.txt'"):
        run.log_artifacts(tmp_path, "top")
