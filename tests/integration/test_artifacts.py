"""Files in and out, and the same files seen by MLflow's own server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from mlflow_grpc import (
    ActiveRun,
    Artifact,
    AsyncClient,
    Client,
    FailedPreconditionError,
    NotFoundError,
    OutOfRangeError,
    Progress,
)
from mlflow_grpc.v1.run_service_pb2_grpc import RunServiceStub
from tests import artifacts
from tests.conftest import Served
from tests.unit.client.driver import Driver

LARGE = os.urandom(9 * 2**20 + 17)


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as client:
        yield client


@pytest.fixture
def run(client: Client) -> ActiveRun:
    return client.start_run()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of every size that matters."""
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "empty").write_bytes(b"")
    (folder / "small.txt").write_text("small")
    (folder / "chunk.bin").write_bytes(os.urandom(2**20))
    (folder / "deep" / "er" / "mid.bin").write_bytes(os.urandom(3 * 2**20 + 1))
    (folder / "deep" / "large.bin").write_bytes(LARGE)
    for number in range(1200):
        (folder / "deep" / f"{number:04}").write_bytes(os.urandom(number % 50))
    return folder


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_a_folder_goes_up_and_comes_down_whole(
    served: Served, folder: Path, tmp_path: Path, kind: str
) -> None:
    driver = Driver(kind, served.address)
    run_id = (await driver.call("create_run", "0")).info.run_id
    sent: list[Progress] = []
    stored = await driver.call("log_artifacts", run_id, folder, "top", progress=sent.append)
    want = {f"top/{path}": data for path, data in artifacts.files_below(folder).items()}
    assert {a.path: a.sha256 for a in stored} == {p: artifacts.sha256(d) for p, d in want.items()}
    assert {(p.bytes_total, p.files_total) for p in sent} == {
        (sum(map(len, want.values())), len(want))
    }
    assert sent[-1].bytes_done == sent[-1].bytes_total

    got: list[Progress] = []
    place = await driver.call(
        "download_artifacts", run_id, "", tmp_path / "out", progress=got.append
    )
    assert artifacts.files_below(place) == want
    assert got[-1].bytes_done == got[-1].bytes_total == sent[-1].bytes_total

    one = await driver.call("download_artifacts", run_id, "top/deep/large.bin", tmp_path / "one")
    assert artifacts.content(one) == LARGE
    await driver.close()


def test_lists_are_paged_and_in_order(run: ActiveRun, client: Client, folder: Path) -> None:
    run.log_artifacts(folder)
    local = [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts)
    ]
    listed = list(client.list_artifacts(run.run_id, recursive=True, page_size=7))
    assert [one.path for one in listed] == local
    assert listed == list(run.list_artifacts(recursive=True))
    assert Artifact("deep/large.bin", False, len(LARGE)) in listed
    assert Artifact("deep", True, None) in listed
    top = [one.path for one in client.list_artifacts(run.run_id, page_size=2)]
    assert top == ["chunk.bin", "deep", "empty", "small.txt"]
    assert list(run.list_artifacts("deep/er")) == [
        Artifact("deep/er/mid.bin", False, 3 * 2**20 + 1)
    ]
    assert list(run.list_artifacts("empty")) == [Artifact("empty", False, 0)]
    with pytest.raises(NotFoundError):
        list(run.list_artifacts("absent"))


def test_ranges(run: ActiveRun, client: Client, served: Served) -> None:
    run.log_text("0123456789", "digits")
    for offset, length in ((0, None), (3, None), (3, 4), (0, 10), (9, 5), (10, None)):
        end = None if length is None else offset + length
        assert (
            client.read_artifact(run.run_id, "digits", offset, length) == b"0123456789"[offset:end]
        )
    with pytest.raises(OutOfRangeError):
        client.read_artifact(run.run_id, "digits", 11)
    with grpc.insecure_channel(served.address) as channel:
        request = artifacts.pb.DownloadArtifactRequest(
            run_id=run.run_id, paths=["digits"], offset=3
        )
        rest = next(iter(artifacts.stub(channel).DownloadArtifact(request)))
        assert rest.chunks[0].sha256 == artifacts.sha256(b"0123456789")
        request.length = 2
        part = next(iter(artifacts.stub(channel).DownloadArtifact(request)))
        assert part.chunks[0].sha256 == artifacts.sha256(b"34")


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_a_folder_cannot_be_read_as_a_file(served: Served, run: ActiveRun, kind: str) -> None:
    for name in ("one/f", "some/f", "some/g"):
        run.log_text("content", name)
    place = served.folder / "mlartifacts" / "0" / run.run_id / "artifacts"
    (place / "none").mkdir()
    run.log_text("", "empty")
    driver = Driver(kind, served.address)
    for name in ("none", "one", "some"):
        for area in ((), (0, 3), (3,)):
            with pytest.raises(NotFoundError) as told:
                await driver.call("read_artifact", run.run_id, name, *area)
            assert told.value.reason == "ARTIFACT_FILE_NOT_FOUND"
    assert await driver.call("read_artifact", run.run_id, "empty") == b""
    await driver.close()


def test_a_file_is_replaced_whole(run: ActiveRun, client: Client) -> None:
    run.log_text("old", "a/f")
    run.log_text("new and longer", "a/f")
    assert client.read_artifact(run.run_id, "a/f") == b"new and longer"


def test_two_uploads_of_one_path_leave_one_whole_file(served: Served, run: ActiveRun) -> None:
    contents = [bytes([number]) * (2**20 * 2) for number in range(6)]
    barrier = threading.Barrier(len(contents))

    def upload(data: bytes) -> None:
        with grpc.insecure_channel(served.address) as channel:
            chunks = artifacts.pieces("same", data, 2**18)
            barrier.wait()
            artifacts.log(artifacts.stub(channel), run.run_id, *chunks)

    threads = [threading.Thread(target=upload, args=[data]) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Client(served.address) as client:
        assert client.read_artifact(run.run_id, "same") in contents


def test_no_host_is_called_for_a_model(client: Client, run: ActiveRun) -> None:
    client.register_model(f"far-{run.run_id}", "http://127.0.0.1:1/secret")
    with pytest.raises(FailedPreconditionError) as caught:
        client.read_artifact(f"models:/far-{run.run_id}/1", "x")
    assert caught.value.reason == "LOCATION_NOT_SERVED"


async def test_uploads_do_not_hold_up_other_calls(served: Served) -> None:
    """The event loop is free while files are hashed and written."""
    async with AsyncClient(served.address) as client:
        run = await client.start_run()
        upload = asyncio.ensure_future(
            asyncio.gather(*(run.log_text("x" * 2**23, f"{number}") for number in range(8)))
        )
        while not upload.done():
            await client.get_version(timeout=5)
        assert len(await upload) == 8


def test_hash_is_of_what_is_stored(served: Served, run: ActiveRun) -> None:
    with grpc.insecure_channel(served.address) as channel:
        stub: RunServiceStub = artifacts.stub(channel)
        answer = artifacts.log(stub, run.run_id, *artifacts.pieces("x/y", LARGE, 999_983))
    (stored,) = answer.artifacts
    (on_disk,) = served.folder.glob(f"mlartifacts/0/{run.run_id}/artifacts/x/y")
    assert stored.sha256 == hashlib.sha256(on_disk.read_bytes()).hexdigest()
    assert (stored.path, stored.size) == ("x/y", len(LARGE))
