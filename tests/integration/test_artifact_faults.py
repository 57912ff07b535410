"""Uploads and downloads over what fails: servers, clients, disks, and files that change."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from mlflow_grpc import Client, Progress, ResourceExhaustedError
from tests import artifacts
from tests.artifacts import STAGING, pieces, sha256, small_disk, staged, visible, wait_for
from tests.conftest import Served
from tests.rpc import describe
from tests.servers import ServerProcess, free_port
from tests.unit.client.driver import Driver

SIZE = 48 * 2**20

HALF_AN_UPLOAD = """
import sys, threading, grpc
from tests import artifacts

def chunks():
    yield from artifacts.pieces("p", b"x" * 100, 10, upload_id="kept")[:5]
    threading.Event().wait()

stub = artifacts.stub(grpc.insecure_channel(sys.argv[1]))
stub.LogArtifacts(artifacts.messages(sys.argv[2], chunks()))
"""


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "big.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


class Killing:
    """A callback that kills the server, and starts it anew, once a share of the bytes moved."""

    def __init__(self, folder: Path, share: float) -> None:
        self.folder = folder
        self.share = share
        self.port = free_port()
        self.server = ServerProcess(folder, port=self.port)
        self.killed_at: int | None = None
        self.lowest_after: int | None = None
        self._restarting: threading.Thread | None = None

    def __call__(self, progress: Progress) -> None:
        if self.killed_at is not None:
            if self.lowest_after is None:
                self.lowest_after = progress.bytes_done
            self.lowest_after = min(self.lowest_after, progress.bytes_done)
        elif progress.bytes_done > self.share * progress.bytes_total:
            self.killed_at = progress.bytes_done
            self.server.signal(signal.SIGKILL)
            self.server.wait()
            self._restarting = threading.Thread(target=self._restart)
            self._restarting.start()

    def _restart(self) -> None:
        self.server.__exit__(None, None, None)
        self.server = ServerProcess(self.folder, port=self.port)

    def stop(self) -> None:
        if self._restarting is not None:
            self._restarting.join()
        self.server.__exit__(None, None, None)


@contextmanager
def killing(folder: Path, share: float) -> Iterator[Killing]:
    made = Killing(folder, share)
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("kind", ["sync", pytest.param("aio", marks=pytest.mark.slow)])
async def test_a_killed_server_is_resumed_both_ways(tmp_path: Path, big: Path, kind: str) -> None:
    data = artifacts.content(big)
    with killing(tmp_path, 0.6) as upload:
        driver = Driver(kind, upload.server.address)
        run_id = (await driver.call("create_run", "0")).info.run_id
        stored = await driver.call("log_artifact", run_id, big, progress=upload)
        assert stored.sha256 == sha256(data)
        assert upload.killed_at is not None
        # It went on from what the server held, and did not begin again.
        assert upload.lowest_after is not None
        assert upload.lowest_after > upload.killed_at / 2
        assert staged(tmp_path) == []
        await driver.close()
    with killing(tmp_path, 0.6) as download:
        driver = Driver(kind, download.server.address)
        place = await driver.call(
            "download_artifacts", run_id, "big.bin", tmp_path / "out", progress=download
        )
        assert artifacts.content(place) == data
        assert download.killed_at is not None
        assert download.lowest_after is not None
        assert download.lowest_after > download.killed_at / 2
        assert set(artifacts.files_below(tmp_path / "out")) == {"big.bin"}
        await driver.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_a_folder_outlives_a_killed_server_both_ways(tmp_path: Path, kind: str) -> None:
    """Large files, small ones and both together: every file arrives whole, with its sum."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for number in range(8):
        (folder / "deep" / f"{number}.bin").write_bytes(os.urandom(9 * 2**20 + number))
    for number in range(1500):
        (folder / f"{number}").write_bytes(os.urandom(10_000))
    files = artifacts.files_below(folder)
    for share in (0.3, 0.8):
        with killing(tmp_path, share) as upload:
            driver = Driver(kind, upload.server.address)
            run_id = (await driver.call("create_run", "0")).info.run_id
            stored = await driver.call("log_artifacts", run_id, folder, progress=upload)
            assert upload.killed_at is not None
            assert {one.path: one.sha256 for one in stored} == {
                path: sha256(data) for path, data in files.items()
            }
            assert visible(tmp_path, run_id) == files
            # What was cut off and begun anew is swept; nothing of a large file is begun anew.
            assert [path for path in staged(tmp_path) if path.suffix == ".part"] == []
            await driver.close()
        with killing(tmp_path, share) as download:
            driver = Driver(kind, download.server.address)
            place = await driver.call(
                "download_artifacts", run_id, "", tmp_path / f"out-{share}", progress=download
            )
            assert download.killed_at is not None
            assert artifacts.files_below(place) == files
            await driver.close()


def test_what_nobody_comes_back_for_is_deleted(tmp_path: Path) -> None:
    """A dead server's half file, a cancelled upload's, and a killed client's, which had an id."""
    folder = tmp_path / STAGING
    folder.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for left in (folder / f"{'ab' * 20}.part", elsewhere / f"{'ab' * 16}.tmp"):
        left.write_bytes(b"half")
    # What is not of the server's making is left alone, whatever folder it is given.
    (elsewhere / "theirs.tmp").write_bytes(b"kept")
    (elsewhere / "folder").mkdir()
    arguments = ("--upload-retention", "0.2", "--artifacts-staging", str(elsewhere))

    def half_there() -> bool:
        return [path.stat().st_size for path in staged(tmp_path)] == [50]

    with ServerProcess(tmp_path, *arguments) as server:
        wait_for(lambda: staged(tmp_path) == [])
        wait_for(lambda: set(os.listdir(elsewhere)) == {"theirs.tmp", "folder"})
        with Client(server.address) as client:
            run_id = client.create_run("0").info.run_id
            leave_a_location_tidy(client, tmp_path / "place")
        with grpc.insecure_channel(server.address) as channel:

            def chunks() -> Iterator[Any]:
                yield from pieces("p", b"x" * 100, 10)[:5]
                threading.Event().wait(30)

            sent = artifacts.messages(run_id, chunks())
            call = artifacts.stub(channel).LogArtifacts.future(sent)
            wait_for(half_there)
            call.cancel()
            wait_for(lambda: staged(tmp_path) == [])
        process = subprocess.Popen(
            [sys.executable, "-c", HALF_AN_UPLOAD, server.address, run_id],
        )
        wait_for(half_there)
        process.kill()
        process.wait()
        wait_for(lambda: staged(tmp_path) == [])
        assert visible(tmp_path, run_id) == {}


def test_what_a_killed_server_left_elsewhere_is_deleted(tmp_path: Path) -> None:
    """Experiments with a location of their own have stagings that the next server hears of."""
    place = tmp_path / "place"
    arguments = ("--upload-retention", "0.2")
    with ServerProcess(tmp_path) as server, Client(server.address) as client:
        experiment_id = client.create_experiment("elsewhere", place.as_uri())
        run_id = client.create_run(experiment_id).info.run_id
        process = subprocess.Popen(
            [sys.executable, "-c", HALF_AN_UPLOAD, server.address, run_id],
        )
        wait_for(lambda: [one.stat().st_size for one in place.rglob("*.part")] == [50])
        server.signal(signal.SIGKILL)
        server.wait()
        process.kill()
        process.wait()
    (marker,) = staged(tmp_path)
    assert marker.suffix == ".elsewhere"
    (tmp_path / STAGING / f"{'ab' * 20}.elsewhere").write_text("cut off")
    with ServerProcess(tmp_path, *arguments) as server:
        wait_for(lambda: not list(place.rglob("*staging*")))
        wait_for(lambda: marker not in staged(tmp_path))
        # What is there is not forgotten over an upload that takes long.
        with grpc.insecure_channel(server.address) as channel:

            def chunks() -> Iterator[Any]:
                yield from pieces("p", b"x" * 100, 10, upload_id="u")[:5]
                ended.wait(30)

            ended = threading.Event()
            call = artifacts.stub(channel).LogArtifacts.future(artifacts.messages(run_id, chunks()))
            wait_for(lambda: list(place.rglob("*.part")))
            swept_after(tmp_path)
            assert marker.read_bytes() == bytes(next(place.rglob("*staging*")))
            ended.set()
            assert call.code() is grpc.StatusCode.INVALID_ARGUMENT


def swept_after(folder: Path) -> None:
    """Returns when the server has swept all that it knows of, twice."""
    for _ in range(2):
        left = folder / STAGING / f"{'cd' * 20}.part"
        left.write_bytes(b"half")
        os.utime(left, (0, 0))
        wait_for(lambda left=left: not left.exists())


def leave_a_location_tidy(client: Client, place: Path) -> None:
    """Each run of an experiment elsewhere has a staging of its own, for as long as it is used."""
    experiment_id = client.create_experiment("elsewhere", place.as_uri())
    runs = [client.create_run(experiment_id).info.run_id for _ in range(3)]
    for _ in range(2):
        for run_id in runs:
            client.log_text(run_id, "x", "deep/file")
        wait_for(lambda: not list(place.rglob("*staging*")))
    for run_id in runs:
        assert artifacts.files_below(place / run_id) == {"artifacts/deep/file": b"x"}


def test_a_full_disk(tmp_path: Path, big: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 8):
        place = ("--artifacts-destination", str(disk))
        with ServerProcess(tmp_path, *place) as server, Client(server.address) as client:
            run_id = client.create_run("0").info.run_id
            client.log_text(run_id, "fits", "fits")
            with pytest.raises(ResourceExhaustedError) as told:
                client.log_artifact(run_id, big)
            assert told.value.reason == "NO_SPACE"
            assert 0 < int(told.value.metadata["free_bytes"]) < 8 * 2**20
            assert told.value.metadata["path"] == "big.bin"
            with grpc.insecure_channel(server.address) as channel:
                # Two that fit one by one and not together, so that the disk fills on the way.
                half = pieces("half", b"x" * (6 * 2**20), 2**20)
                calls = [
                    artifacts.stub(channel).LogArtifacts.future(
                        artifacts.messages(run_id, _renamed(half, f"half-{number}"))
                    )
                    for number in range(2)
                ]
                reasons = [describe(c).reason for call in calls if (c := call.exception(30))]
            assert reasons
            assert set(reasons) == {"NO_SPACE"}
            wait_for(lambda: not list((disk / ".mlflow-grpc-staging").glob("*")))
            shown = {one.path for one in client.list_artifacts(run_id)}
            assert shown <= {"fits", "half-0", "half-1"}
            assert len(shown) == 3 - len(reasons)
            assert client.read_artifact(run_id, "fits") == b"fits"


def test_a_file_that_the_system_refuses_to_grow(tmp_path: Path, big: Path) -> None:
    """As a full disk does it, half-way and for whoever runs the tests: by a limit of the server."""
    with ServerProcess(tmp_path) as server, Client(server.address) as client:
        run_id = client.create_run("0").info.run_id
        before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (12 * 2**20, before[1]))
        for log in (
            lambda: client.log_artifact(run_id, big),
            lambda: client.log_text(run_id, "x" * (13 * 2**20), "text"),
        ):
            with pytest.raises(ResourceExhaustedError) as told:
                log()
            assert told.value.reason == "NO_SPACE"
            assert int(told.value.metadata["free_bytes"]) > 0
            assert told.value.metadata["path"] in {"big.bin", "text"}
            assert staged(tmp_path) == []
            assert visible(tmp_path, run_id) == {}
        client.log_text(run_id, "fits", "fits")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
        assert client.log_artifact(run_id, big).file_size == SIZE


def _renamed(chunks: list[Any], path: str) -> list[Any]:
    first = artifacts.pb.ArtifactChunk()
    first.CopyFrom(chunks[0])
    first.path = path
    return [first, *chunks[1:]]


@pytest.mark.parametrize("size", [1000, 9 * 2**20], ids=["small", "large"])
@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_who_reads_while_a_file_is_replaced_reads_one_whole(
    served: Served, run_id: str, tmp_path: Path, kind: str, size: int
) -> None:
    """Two clients log one path at once, over and over; a third only ever sees whole files."""
    driver = Driver(kind, served.address)
    contents = [bytes([number]) * size for number in range(2)]
    paths = [tmp_path / f"{number}" / "same" for number in range(2)]
    for path, content in zip(paths, contents, strict=True):
        path.parent.mkdir()
        path.write_bytes(content)
    await driver.call("log_artifact", run_id, paths[0])

    async def write(path: Path) -> None:
        client = driver.open()
        for _ in range(4):
            stored = await driver.call("log_artifact", run_id, path, on=client)
            assert stored.sha256 == sha256(contents[int(path.parent.name)])

    writing = asyncio.ensure_future(asyncio.gather(*map(write, paths)))
    client = driver.open()
    reads = 0
    while not writing.done() or not reads:
        listed = await driver.call("list_artifacts", run_id, on=client)
        assert [(one.path, one.file_size) for one in listed] == [("same", size)]
        assert await driver.call("read_artifact", run_id, "same", on=client) in contents
        place = await driver.call("download_artifacts", run_id, "", tmp_path / "out", on=client)
        assert artifacts.content(f"{place}/same") in contents
        reads += 1
    await writing
    await driver.close()


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_files_that_change_while_they_are_sent(
    served: Served, run_id: str, tmp_path: Path, kind: str
) -> None:
    """What is added is left out, of large files and of small ones; what is cut off is missed."""
    large, small = tmp_path / "a-large", tmp_path / "b-small"
    contents = {"a-large": b"x" * (9 * 2**20), "b-small": b"small"}
    driver = Driver(kind, served.address)
    one_by_one = driver.open(parallel_files=1)

    def change(progress: Progress) -> None:
        # The large one is being sent then, and the small one comes after it.
        while left:
            left.pop()()

    for changed in ([large, small], [large], [small]):
        for name, data in contents.items():
            (tmp_path / name).write_bytes(data)
        left = [partial(grow, path) for path in changed]
        await driver.call("log_artifacts", run_id, tmp_path, progress=change, on=one_by_one)
        assert visible(served.folder, run_id) == contents
    for path in (large, small):
        for name, data in contents.items():
            (tmp_path / name).write_bytes(data)
        left = [partial(os.truncate, path, 2)]
        with pytest.raises(OSError, match="changed while it was read"):
            await driver.call("log_artifacts", run_id, tmp_path, progress=change, on=one_by_one)
        assert visible(served.folder, run_id) == contents
    await driver.close()
