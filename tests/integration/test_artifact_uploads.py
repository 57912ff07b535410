"""Uploads chunk by chunk: resumed, shared, damaged, and out of order."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests import artifacts
from tests.artifacts import pieces, sha256, staged, visible, wait_for, whole
from tests.conftest import Served
from tests.rpc import describe
from tests.servers import ServerProcess


@pytest.fixture
def stub(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.address) as channel:
        yield artifacts.stub(channel)


@pytest.fixture
def tidy(served: Served) -> Iterator[None]:
    """Fails a test after which more is staged than before it."""
    before = set(staged(served.folder))
    yield
    assert set(staged(served.folder)) <= before


def test_an_upload_goes_on_from_what_is_held(stub: Any, run_id: str, served: Served) -> None:
    data = os.urandom(3 * 2**20)
    chunks = pieces("part", data, 2**20, upload_id="u-1")
    asked = artifacts.pb.GetArtifactUploadRequest(run_id=run_id, path="part", upload_id="u-1")
    assert stub.GetArtifactUpload(asked).held_bytes == 0
    # Ends before the file does, as after a cut.
    with pytest.raises(grpc.RpcError):
        artifacts.log(stub, run_id, *chunks[:2])
    assert stub.GetArtifactUpload(asked).held_bytes == 2 * 2**20
    assert visible(served.folder, run_id) == {}
    chunks[2].path, chunks[2].size, chunks[2].upload_id = "part", len(data), "u-1"
    chunks[2].offset = 2 * 2**20
    assert artifacts.log(stub, run_id, chunks[2]).artifacts[0].sha256 == sha256(data)
    assert visible(served.folder, run_id) == {"part": data}
    assert stub.GetArtifactUpload(asked).held_bytes == 0


def test_a_replica_takes_an_upload_over(
    stub: Any, run_id: str, served: Served, tmp_path: Path
) -> None:
    """Another server over the same database and destination knows what this one holds."""
    arguments = (
        *("--backend-store-uri", served.backend_store_uri),
        *("--artifacts-destination", str(served.folder / "mlartifacts")),
    )
    data = os.urandom(3 * 2**20)
    chunks = pieces("moved", data, 2**20, upload_id="u-4")
    asked = artifacts.pb.GetArtifactUploadRequest(run_id=run_id, path="moved", upload_id="u-4")
    sending = threading.Event()

    def slow() -> Iterator[Any]:
        yield from artifacts.messages(run_id, chunks[:2])
        sending.wait(30)

    with (
        ServerProcess(tmp_path, *arguments) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        replica = artifacts.stub(channel)
        first = stub.LogArtifacts.future(slow())
        wait_for(lambda: replica.GetArtifactUpload(asked).held_bytes == 2 * 2**20)
        chunks[2].path, chunks[2].size, chunks[2].upload_id = "moved", len(data), "u-4"
        chunks[2].offset = 2 * 2**20
        with pytest.raises(grpc.RpcError) as caught:
            artifacts.log(replica, run_id, chunks[2])
        assert describe(caught.value).reason == "UPLOAD_IN_USE"
        sending.set()
        assert first.exception(30) is not None
        stored = artifacts.log(replica, run_id, chunks[2]).artifacts[0]
        assert stored.sha256 == sha256(data)
    assert visible(served.folder, run_id) == {"moved": data}
    assert stub.GetArtifactUpload(asked).held_bytes == 0


def test_one_call_at_a_time_uses_an_upload_id(stub: Any, run_id: str, served: Served) -> None:
    chunks = pieces("part", b"x" * 20, 10, upload_id="u-2")
    sending = threading.Event()

    def slow() -> Iterator[Any]:
        yield from artifacts.messages(run_id, chunks[:1])
        sending.wait(30)
        yield from artifacts.messages(run_id, chunks[1:])

    first = stub.LogArtifacts.future(slow())
    asked = artifacts.pb.GetArtifactUploadRequest(run_id=run_id, path="part", upload_id="u-2")
    wait_for(lambda: stub.GetArtifactUpload(asked).held_bytes == 10)
    with pytest.raises(grpc.RpcError) as caught:
        artifacts.log(stub, run_id, *chunks)
    assert describe(caught.value).reason == "UPLOAD_IN_USE"
    sending.set()
    assert first.result(30).artifacts[0].size == 20


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("upload_id", ["", "u-3"])
def test_a_damaged_file_is_not_stored(
    stub: Any, run_id: str, served: Served, upload_id: str
) -> None:
    chunks = pieces("bad", os.urandom(2**20), 2**18, upload_id)
    chunks[2].data = bytes([chunks[2].data[0] ^ 1]) + chunks[2].data[1:]
    with pytest.raises(grpc.RpcError) as caught:
        artifacts.log(stub, run_id, whole("good", b"1"), *chunks, whole("after", b"2"))
    failure = describe(caught.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.DATA_LOSS, "CHECKSUM_MISMATCH")
    assert failure.metadata["path"] == "bad"
    assert visible(served.folder, run_id) == {"good": b"1"}


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize(
    ("chunks", "field"),
    [
        ([whole("a", b"1", size=2)], "chunks[0].size"),
        (pieces("a", b"123", 2)[1:], "chunks[0].path"),
        ([pieces("a", b"123", 2)[0], whole("b", b"1")], "chunks[0].path"),
        (pieces("a", b"123", 2)[:1], "chunks"),
        (
            [*pieces("a", b"123", 2)[:1], artifacts.pb.ArtifactChunk(data=b"toolong")],
            "chunks[0].data",
        ),
        (
            [*pieces("a", b"123", 2)[:1], artifacts.pb.ArtifactChunk(sha256=sha256(b"12"))],
            "chunks[0].sha256",
        ),
    ],
)
def test_chunks_out_of_order_store_nothing(
    stub: Any, run_id: str, served: Served, chunks: list[Any], field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        artifacts.log(stub, run_id, *chunks)
    failure = describe(caught.value)
    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))
    assert visible(served.folder, run_id) == {}


@pytest.mark.usefixtures("tidy")
def test_files_and_folders_do_not_replace_each_other(
    stub: Any, run_id: str, served: Served
) -> None:
    artifacts.log(stub, run_id, whole("file", b"1"), whole("folder/file", b"2"))
    for path, reason in (("folder", "ARTIFACT_IS_FOLDER"), ("file/below", "PARENT_IS_FILE")):
        for chunks in ([whole(path, b"new")], pieces(path, b"new", 1)):
            with pytest.raises(grpc.RpcError) as caught:
                artifacts.log(stub, run_id, *chunks)
            assert describe(caught.value).reason == reason
    assert visible(served.folder, run_id) == {"file": b"1", "folder/file": b"2"}


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize(
    ("owner", "field"),
    [({"run_id": "0" * 32}, "run_id"), ({"model_uri": "models:/m-1"}, "model_uri")],
)
def test_a_call_has_one_owner(
    stub: Any, run_id: str, served: Served, owner: dict[str, str], field: str
) -> None:
    def sent() -> Iterator[Any]:
        yield from artifacts.messages(run_id, [whole("a", b"1")])
        yield artifacts.pb.LogArtifactsRequest(chunks=[whole("b", b"2")])
        yield artifacts.pb.LogArtifactsRequest(chunks=[whole("c", b"3")], **owner)

    with pytest.raises(grpc.RpcError) as caught:
        stub.LogArtifacts(sent(), timeout=60)
    failure = describe(caught.value)
    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))
    assert "c" not in visible(served.folder, run_id)
