"""Files over a server that damages, forgets and misnames them: nothing wrong gets through."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from mlflow_grpc import DataLossError, DeadlineExceededError, UnavailableError
from mlflow_grpc._files.receiving import is_windows_name
from mlflow_grpc.v1 import artifacts_pb2 as pb
from tests.artifacts import wait_for
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import FakeServer

SMALL = b"small"
LARGE = os.urandom(9 * 2**20)
PART = ".mlflow-grpc-part"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def listing(files: dict[str, bytes]) -> Callable[[Any, Any], pb.ListArtifactsResponse]:
    return lambda request, context: pb.ListArtifactsResponse(
        artifacts=[{"path": path, "size": len(data)} for path, data in files.items()]
    )


def parts(path: str, data: bytes, offset: int = 0) -> list[pb.ArtifactChunk]:
    """The chunks of a file from an offset."""
    size = 2**20
    chunks = [
        pb.ArtifactChunk(data=data[at : at + size]) for at in range(offset, len(data) or 1, size)
    ]
    chunks[0].path, chunks[0].size, chunks[0].offset = path, len(data), offset
    chunks[-1].sha256 = sha256(data)
    return chunks


def sending(
    *tries: dict[str, bytes], change: Callable[[list[pb.ArtifactChunk]], None]
) -> Callable[[Any, Any], Iterator[pb.DownloadArtifactResponse]]:
    """A download that sends these files: changed, for as many calls as there are."""
    left = list(tries)

    def flow(request: Any, context: Any) -> Iterator[pb.DownloadArtifactResponse]:
        damaged = len(left) > 1
        files = left.pop(0) if damaged else left[0]
        for path in request.paths:
            chunks = parts(path, files[path], request.offset)
            if damaged:
                change(chunks)
            for chunk in chunks:
                yield pb.DownloadArtifactResponse(chunks=[chunk])

    return flow


def flip(chunks: list[pb.ArtifactChunk]) -> None:
    chunks[-1].data = bytes([chunks[-1].data[0] ^ 1]) + chunks[-1].data[1:]


def shorten(chunks: list[pb.ArtifactChunk]) -> None:
    chunks[-1].data = chunks[-1].data[:-1]


def forget_the_sum(chunks: list[pb.ArtifactChunk]) -> None:
    chunks[-1].sha256 = ""


def misname(chunks: list[pb.ArtifactChunk]) -> None:
    chunks[0].path = "../evil"


def forget_the_name(chunks: list[pb.ArtifactChunk]) -> None:
    chunks[0].path = ""


def rot(path: Path) -> None:
    """Change the first bytes of a file."""
    with path.open("r+b") as file:
        file.write(b"rotten")


class Hang:
    """Answers of either kind that never come; tells when it was called and left."""

    def __init__(self, server: FakeServer) -> None:
        self.began, self.ended = threading.Event(), threading.Event()
        server.answers["ListArtifacts"] = listing({"f": SMALL})
        server.flows["LogArtifacts"] = self._answer
        server.flows["DownloadArtifact"] = self._flow

    def _answer(self, request: Any, context: Any) -> pb.LogArtifactsResponse:
        context.add_callback(self.ended.set)
        self.began.set()
        self.ended.wait(30)
        return pb.LogArtifactsResponse()

    def _flow(self, request: Any, context: Any) -> Iterator[Any]:
        self._answer(request, context)
        yield from ()

    def clear(self) -> None:
        self.began.clear()
        self.ended.clear()


FAULTS = [flip, shorten, forget_the_sum, misname, forget_the_name]


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("change", FAULTS)
async def test_a_damaged_download_is_asked_for_once_more(
    server: FakeServer, driver: Driver, tmp_path: Path, change: Any, data: bytes
) -> None:
    files = {"f": data}
    server.answers["ListArtifacts"] = listing(files)
    server.flows["DownloadArtifact"] = sending(files, files, change=change)
    place = await driver.call("download_artifacts", "r", "f", tmp_path / "out")
    assert below(tmp_path / "out") == {"f": data}
    assert place == str(tmp_path / "out" / "f")
    server.flows["DownloadArtifact"] = sending(files, files, files, change=change)
    with pytest.raises(DataLossError):
        await driver.call("download_artifacts", "r", "f", tmp_path / "bad")
    assert not (tmp_path / "bad" / "f").exists()
    assert not (tmp_path / "evil").exists()
    assert len(server.requests("DownloadArtifact")) == 4


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "a//b", "a\0b", "."])
async def test_a_server_cannot_write_anywhere_else(
    server: FakeServer, driver: Driver, tmp_path: Path, path: str
) -> None:
    files = {"fine": SMALL, path: SMALL}
    server.answers["ListArtifacts"] = listing(files)
    server.flows["DownloadArtifact"] = sending(files, change=flip)
    with pytest.raises(DataLossError, match="no place"):
        await driver.call("download_artifacts", "r", "", tmp_path / "out")
    assert below(tmp_path) == {}
    assert server.requests("DownloadArtifact") == []


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *((name, True) for name in ("a", ".a", "a b.txt", "console", "com", "%41", "a#b", "é")),
        *((name, False) for name in ("a ", "a.", "con", "Nul.txt", "COM1", "aux .x", "lpt¹.log")),
        *((name, False) for name in ("a:b", "a\\b", "a?", "a\nb", "a|b", "..", "x\x00")),
    ],
)
def test_names_on_windows(name: str, is_one: bool) -> None:
    assert is_windows_name(name) is is_one


async def test_what_is_held_and_rotten_is_begun_anew(
    server: FakeServer, driver: Driver, tmp_path: Path
) -> None:
    files = {"f": LARGE}
    server.answers["ListArtifacts"] = listing(files)

    def cut(request: Any, context: Any) -> Iterator[pb.DownloadArtifactResponse]:
        for chunk in parts("f", LARGE, request.offset)[:3]:
            yield pb.DownloadArtifactResponse(chunks=[chunk])
        context.abort(grpc.StatusCode.INTERNAL, "broken")

    server.flows["DownloadArtifact"] = cut
    with pytest.raises(Exception, match="broken"):
        await driver.call("download_artifacts", "r", "f", tmp_path)
    ((name, data),) = below(tmp_path).items()
    assert name != "f"
    assert data == LARGE[: 3 * 2**20]
    rot(tmp_path / name)
    server.flows["DownloadArtifact"] = sending(files, change=flip)
    await driver.call("download_artifacts", "r", "f", tmp_path)
    assert [one.offset for one in server.requests("DownloadArtifact")] == [0, 3 * 2**20, 0]
    assert below(tmp_path) == {"f": LARGE}


@pytest.mark.parametrize("wrong", [{}, {"f": b"other"}, {"f": SMALL, "g": SMALL}])
async def test_an_upload_that_is_stored_otherwise_is_told(
    server: FakeServer, driver: Driver, wrong: dict[str, bytes]
) -> None:
    server.answers["LogArtifacts"] = lambda request, context: pb.LogArtifactsResponse(
        artifacts=[
            {"path": path, "size": len(data), "sha256": sha256(data)}
            for path, data in wrong.items()
        ]
    )
    with pytest.raises(DataLossError, match="did not store"):
        await driver.call("log_text", "r", SMALL.decode(), "f")


async def test_transfers_have_their_deadline(
    server: FakeServer, driver: Driver, tmp_path: Path
) -> None:
    hang = Hang(server)
    for call in (
        ("log_text", "r", "text", "f"),
        ("download_artifacts", "r", "f", tmp_path),
        ("read_artifact", "r", "f"),
    ):
        hang.clear()
        with pytest.raises(DeadlineExceededError):
            await driver.call(*call, timeout=0.2)
        assert hang.ended.wait(30)
    assert below(tmp_path) == {}


async def test_no_second_try_if_none_is_wanted(server: FakeServer, driver: Driver) -> None:
    def away(request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.UNAVAILABLE, "away")

    server.answers["LogArtifacts"] = away
    with pytest.raises(UnavailableError):
        await driver.call("log_text", "r", "x", "f", on=driver.open(retry_attempts=1))
    assert len(server.requests("LogArtifacts")) == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (grpc.StatusCode.UNAVAILABLE, "away"),
        (grpc.StatusCode.ABORTED, "in use"),
        # What gRPC for asyncio says at times when a connection is lost while it sends.
        (grpc.StatusCode.INTERNAL, "Internal error from Core"),
    ],
)
async def test_a_lost_connection_is_no_end(
    server: FakeServer, driver: Driver, code: grpc.StatusCode, message: str
) -> None:
    def lost(request: Any, context: Any) -> Any:
        if len(server.requests("LogArtifacts")) == 1:
            context.abort(code, message)
        stored = [{"path": one.path, "sha256": one.sha256} for one in request.chunks]
        return pb.LogArtifactsResponse(artifacts=stored)

    server.answers["LogArtifacts"] = lost
    assert (await driver.call("log_text", "r", "x", "f")).path == "f"
    assert len(server.requests("LogArtifacts")) == 2


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_what_has_arrived_is_there(
    server: FakeServer, driver: Driver, tmp_path: Path, data: bytes
) -> None:
    """Though the server is lost before it has said that this is all."""
    files = {"f": data}
    whole = sending(files, change=flip)

    def lost(request: Any, context: Any) -> Iterator[Any]:
        yield from whole(request, context)
        context.abort(grpc.StatusCode.UNAVAILABLE, "away")

    server.answers["ListArtifacts"] = listing(files)
    server.flows["DownloadArtifact"] = lost
    await driver.call("download_artifacts", "r", "f", tmp_path)
    assert below(tmp_path) == files
    assert len(server.requests("DownloadArtifact")) == 1


@pytest.mark.parametrize("other", [SMALL, LARGE[::-1]], ids=["small", "large"])
@pytest.mark.parametrize("folder", ["", "in/"])
async def test_what_is_named_like_a_part_is_none(
    server: FakeServer, driver: Driver, tmp_path: Path, folder: str, other: bytes
) -> None:
    """As in a folder that was logged with what a cut download left there."""
    files = {f"{folder}f": LARGE, f"{folder}f{PART}": other}
    server.answers["ListArtifacts"] = listing(files)
    server.flows["DownloadArtifact"] = sending(files, change=flip)
    for _ in range(2):
        await driver.call("download_artifacts", "r", "", tmp_path)
        assert below(tmp_path) == files


async def test_what_others_put_where_a_part_goes_is_theirs(
    server: FakeServer, driver: Driver, tmp_path: Path
) -> None:
    files = {"f": LARGE}
    server.answers["ListArtifacts"] = listing(files)
    server.flows["DownloadArtifact"] = sending(files, change=flip)
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / f"f{PART}").symlink_to(tmp_path / "theirs")
    (tmp_path / "folder" / f"f{PART}").mkdir(parents=True)
    for name in ("linked", "folder"):
        await driver.call("download_artifacts", "r", "f", tmp_path / name)
        assert below(tmp_path / name)["f"] == LARGE
    assert (tmp_path / "theirs").read_text() == "precious"


async def test_a_part_that_another_file_has_replaced_is_not_moved(
    server: FakeServer, driver: Driver, tmp_path: Path
) -> None:
    files = {"f": LARGE}
    whole = sending(files, change=flip)

    def replacing(request: Any, context: Any) -> Iterator[Any]:
        messages = list(whole(request, context))
        yield from messages[:-1]
        if len(server.requests("DownloadArtifact")) == 1:
            (tmp_path / "new").write_text("theirs")
            wait_for((tmp_path / f"f{PART}").exists)
            (tmp_path / "new").replace(tmp_path / f"f{PART}")
        yield messages[-1]

    server.answers["ListArtifacts"] = listing(files)
    server.flows["DownloadArtifact"] = replacing
    await driver.call("download_artifacts", "r", "f", tmp_path)
    assert below(tmp_path) == {**files, f"f{PART}": b"theirs"}


async def test_what_is_read_is_read_again(server: FakeServer, driver: Driver) -> None:
    whole = sending({"f": LARGE}, change=flip)

    def cut(request: Any, context: Any) -> Iterator[Any]:
        messages = whole(request, context)
        if len(server.requests("DownloadArtifact")) == 1:
            yield next(messages)
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        yield from messages

    server.flows["DownloadArtifact"] = cut
    assert await driver.call("read_artifact", "r", "f") == LARGE
    assert len(server.requests("DownloadArtifact")) == 2


async def test_a_cancelled_transfer_ends_its_calls(server: FakeServer, tmp_path: Path) -> None:
    hang = Hang(server)
    driver = Driver("aio", server.target)
    for call in (("log_text", "r", "x", "f"), ("download_artifacts", "r", "f", tmp_path)):
        hang.clear()
        task = asyncio.ensure_future(driver.call(*call))
        await asyncio.to_thread(hang.began.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(hang.ended.wait, 30)
    assert below(tmp_path) == {}
    await driver.close()
