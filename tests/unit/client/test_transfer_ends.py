"""How transfers end: by a failure, an interrupt, the end of the process, or beside each other."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from mlflow_grpc import Client, DataLossError
from mlflow_grpc._errors import InternalError
from mlflow_grpc.v1 import artifacts_pb2 as pb
from tests.artifacts import wait_for
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import FakeServer
from tests.unit.client.test_artifact_transfers import (
    LARGE,
    SMALL,
    below,
    flip,
    listing,
    parts,
    sending,
    sha256,
    shorten,
)

INTERRUPTED = """
import signal, sys
from mlflow_grpc import Client
signal.signal(signal.SIGINT, signal.default_int_handler)  # of a job in the background it is ignored
client = Client(sys.argv[1])
try:
    getattr(client, sys.argv[2])("r", *sys.argv[3:])
except KeyboardInterrupt:
    print("interrupted")
"""

AT_THE_END = """
import sys, threading
from mlflow_grpc import Client
client = Client(sys.argv[1])

def transfer():
    threading.main_thread().join()
    client.log_artifacts("r", sys.argv[2])
    client.download_artifacts("r", "", sys.argv[3])
    print("done")

threading.Thread(target=transfer).start()
"""


class Held:
    """Transfers that the server neither answers nor refuses; counts who came and who left."""

    def __init__(self, server: FakeServer) -> None:
        self.came, self.left = threading.Semaphore(0), threading.Semaphore(0)
        self.over = threading.Event()
        server.flows["LogArtifacts"] = self.answer
        server.flows["DownloadArtifact"] = self._download

    def answer(self, request: Any, context: Any) -> pb.LogArtifactsResponse:
        ended = threading.Event()
        if not context.add_callback(lambda: (self.left.release(), ended.set())):
            self.left.release()
            ended.set()
        self.came.release()
        ended.wait(30)
        return pb.LogArtifactsResponse()

    def _download(self, request: Any, context: Any) -> Iterator[Any]:
        self.answer(request, context)
        yield from ()


def store(request: Any, context: Any) -> pb.LogArtifactsResponse:
    """Takes every file."""
    files: list[pb.Artifact] = []
    for message in request:
        for chunk in message.chunks:
            if chunk.path:
                files.append(pb.Artifact(path=chunk.path, size=chunk.size))
            if chunk.sha256:
                files[-1].sha256 = chunk.sha256
    return pb.LogArtifactsResponse(artifacts=files)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files, each of which has a call of its own."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_bytes(LARGE)
    return folder


async def test_a_failure_ends_the_other_uploads(
    server: FakeServer, driver: Driver, folder: Path
) -> None:
    held = Held(server)

    def answer(requests: Any, context: Any) -> Any:
        if next(requests).chunks[0].path != "b":
            return held.answer(requests, context)
        for _ in range(2):
            assert held.came.acquire(timeout=30)
        # gRPC for asyncio hides at times what ends a call that sends, and this is asked again.
        held.came.release(2)
        return context.abort(grpc.StatusCode.INTERNAL, "broken")

    server.flows["LogArtifacts"] = answer
    with pytest.raises(InternalError, match="broken"):
        await driver.call("log_artifacts", "r", folder)
    for _ in range(2):
        assert await asyncio.to_thread(held.left.acquire, timeout=30)


async def test_a_failure_ends_the_other_downloads(
    server: FakeServer, driver: Driver, tmp_path: Path
) -> None:
    held = Held(server)
    server.answers["ListArtifacts"] = listing(dict.fromkeys("abc", LARGE))

    def answer(request: Any, context: Any) -> Iterator[Any]:
        if request.paths[0] != "b":
            held.answer(request, context)
            return
        for _ in range(2):
            assert held.came.acquire(timeout=30)
        context.abort(grpc.StatusCode.INTERNAL, "broken")
        yield

    server.flows["DownloadArtifact"] = answer
    with pytest.raises(InternalError, match="broken"):
        await driver.call("download_artifacts", "r", "", tmp_path / "out")
    for _ in range(2):
        assert await asyncio.to_thread(held.left.acquire, timeout=30)


@pytest.mark.parametrize("files", ["a", "abc"])
@pytest.mark.parametrize("call", ["log_artifacts", "download_artifacts"])
def test_an_interrupt_ends_all_calls(
    server: FakeServer, folder: Path, tmp_path: Path, call: str, files: str
) -> None:
    held = Held(server)
    server.answers["ListArtifacts"] = listing(dict.fromkeys(files, LARGE))
    for name in set("abc") - set(files):
        (folder / name).unlink()
    arguments = (str(folder),) if call == "log_artifacts" else ("", str(tmp_path / "out"))
    command = [sys.executable, "-W", "error", "-c", INTERRUPTED, server.target, call, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            for _ in files:
                assert held.came.acquire(timeout=30)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60) == ("interrupted\n", "")
        finally:
            process.kill()
    for _ in files:
        assert held.left.acquire(timeout=30)


def test_a_thread_outlives_the_main_one(server: FakeServer, folder: Path, tmp_path: Path) -> None:
    """Python takes nothing into a pool of threads any more then."""
    files = dict.fromkeys("xyz", LARGE)
    server.flows["LogArtifacts"] = store
    server.answers["ListArtifacts"] = listing(files)
    server.flows["DownloadArtifact"] = sending(files, change=flip)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", AT_THE_END, server.target, folder, tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert below(tmp_path / "out") == files


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_two_downloads_to_one_place(
    server: FakeServer, driver: Driver, tmp_path: Path, data: bytes
) -> None:
    """Of the same file at the same time: each gets it whole, and nothing else is left there."""
    server.answers["ListArtifacts"] = listing({"f": data})
    half_way, may_go_on = threading.Event(), threading.Event()

    def answer(request: Any, context: Any) -> Iterator[Any]:
        chunks = parts("f", data, request.offset)
        if not half_way.is_set():
            chunks[0].sha256, first = "", pb.ArtifactChunk()
            first.CopyFrom(chunks[0])
            yield pb.DownloadArtifactResponse(chunks=[first])
            half_way.set()
            may_go_on.wait(30)
            chunks[0] = pb.ArtifactChunk(sha256=sha256(data) if len(chunks) == 1 else "")
        for chunk in chunks:
            yield pb.DownloadArtifactResponse(chunks=[chunk])

    server.flows["DownloadArtifact"] = answer
    slow = asyncio.ensure_future(driver.call("download_artifacts", "r", "f", tmp_path))
    assert await asyncio.to_thread(half_way.wait, 30)
    await asyncio.to_thread(wait_for, lambda: os.listdir(tmp_path))
    with Client(server.target) as other:
        place = await asyncio.to_thread(other.download_artifacts, "r", "f", tmp_path)
    assert below(tmp_path)["f"] == data
    inode = os.stat(place).st_ino
    may_go_on.set()
    assert await slow == place
    assert os.stat(place).st_ino != inode
    assert below(tmp_path) == {"f": data}


@pytest.mark.parametrize("path", ["", "f", "../f"])
async def test_a_folder_that_nobody_knows_of_is_not_left(
    server: FakeServer,
    driver: Driver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = {"f": LARGE, "deep/g": SMALL}
    server.answers["ListArtifacts"] = listing(files)
    server.flows["DownloadArtifact"] = sending(*[files] * 20, change=shorten)
    with pytest.raises(DataLossError):
        await driver.call("download_artifacts", "r", path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("change", [flip, shorten])
async def test_what_is_read_is_what_was_sent(
    server: FakeServer, driver: Driver, change: Any
) -> None:
    files = {"f": LARGE}
    server.flows["DownloadArtifact"] = sending(files, files, files, change=change)
    with pytest.raises(DataLossError, match="'f'"):
        await driver.call("read_artifact", "r", "f")
    assert await driver.call("read_artifact", "r", "f") == LARGE
