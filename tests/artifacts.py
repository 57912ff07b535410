"""Streams of chunks made by hand, and what a server keeps on disk."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest

from mlflow_grpc.v1 import artifacts_pb2 as pb
from mlflow_grpc.v1.run_service_pb2_grpc import RunServiceStub

T = TypeVar("T")

STAGING = "mlartifacts/.mlflow-grpc-staging"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def whole(path: str, data: bytes, **changes: Any) -> pb.ArtifactChunk:
    """A file in one chunk."""
    fields = {"path": path, "size": len(data), "data": data, "sha256": sha256(data)}
    return pb.ArtifactChunk(**{**fields, **changes})


def pieces(path: str, data: bytes, size: int, upload_id: str = "") -> list[pb.ArtifactChunk]:
    """A file in chunks of `size` bytes."""
    chunks = [pb.ArtifactChunk(data=data[at : at + size]) for at in range(0, len(data), size)]
    chunks[0].path, chunks[0].size, chunks[0].upload_id = path, len(data), upload_id
    chunks[-1].sha256 = sha256(data)
    return chunks


def messages(run_id: str, chunks: Iterable[pb.ArtifactChunk]) -> Iterator[pb.LogArtifactsRequest]:
    """A message for each chunk."""
    for chunk in chunks:
        yield pb.LogArtifactsRequest(run_id=run_id, chunks=[chunk])


def log(stub: RunServiceStub, run_id: str, *chunks: pb.ArtifactChunk) -> pb.LogArtifactsResponse:
    return stub.LogArtifacts(messages(run_id, chunks), timeout=60)


def stub(channel: grpc.Channel) -> RunServiceStub:
    return RunServiceStub(channel)


def content(path: str | Path) -> bytes:
    """The content of a file."""
    return Path(path).read_bytes()


def files_below(folder: str | Path) -> dict[str, bytes]:
    """Every file below a folder, links and all."""
    folder = Path(folder)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    }


def staged(folder: Path) -> list[Path]:
    """What has arrived of unfinished uploads."""
    return list((folder / STAGING).glob("*"))


def visible(folder: Path, run_id: str) -> dict[str, bytes]:
    return files_below(folder / "mlartifacts" / "0" / run_id / "artifacts")


def wait_for(condition: Callable[[], T], seconds: float = 30) -> T:
    """Return what `condition` gives once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)
    return found


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own for `folder`; needs root."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
