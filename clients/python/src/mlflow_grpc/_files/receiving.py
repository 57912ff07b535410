"""The messages of a download as files of this machine."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import grpc

from mlflow_grpc._entities import Artifact
from mlflow_grpc._errors import DataLossError
from mlflow_grpc._files.plan import Batch
from mlflow_grpc._files.sending import Moved
from mlflow_grpc.v1 import artifacts_pb2 as pb

_READ_BYTES = 2**20
_PART = ".mlflow-grpc-part"
_DEVICES = {"con", "prn", "aux", "nul"} | {
    f"{port}{n}" for port in ("com", "lpt") for n in "123456789"
}


class Receiving:
    """One batch, received once or, after a cut, from where it was cut.

    A file is written beside its place and moved there when it has its SHA-256. What there is of
    a large file stays when the download fails, and the next download goes on from it.
    """

    def __init__(self, batch: Batch[Remote], folder: Path, moved: Moved) -> None:
        self._missing = {file.path: file for file in batch.files}
        self._large = batch.is_large
        self._folder = folder
        self._moved = moved
        self._file: BinaryIO | None = None
        self._path = ""
        self._size = 0
        self._digest: Any = None
        self.received = 0
        """How many bytes of the batch are there."""

    @property
    def paths(self) -> list[str]:
        """What is still to be received."""
        return list(self._missing)

    def begin(self) -> int:
        """Where the next call begins in a large file; 0 for small ones."""
        self.close()
        if not self._large:
            return 0
        (remote,) = self._missing.values()
        part = _part(self._target(remote.path))
        held = part.stat().st_size if part.exists() else 0
        if held > remote.size:
            part.unlink()
            held = 0
        self._moved(remote.path, held - self.received)
        self.received = held
        return held

    def restart(self) -> None:
        """Forget what is held."""
        self.close()
        for path in self._missing:
            _part(self._target(path)).unlink(missing_ok=True)

    def take(self, chunks: Iterable[pb.ArtifactChunk]) -> None:
        """Write chunks. Raises `DataLossError` for a file without its SHA-256."""
        for chunk in chunks:
            if chunk.path:
                self._open(chunk)
            if self._file is None:
                raise _lost("the server sent data of no file")
            data = chunk.data
            self._file.write(data)
            self._digest.update(data)
            self.received += len(data)
            self._moved(self._path, len(data))
            if chunk.sha256:
                self._finish(chunk.sha256)

    def check(self) -> None:
        """Raises `DataLossError` if files are missing."""
        self.close()
        if self._missing:
            raise _lost(f"the server sent only part of the files; {self.paths[0]!r} is missing")

    def close(self) -> None:
        """Lets go of the file that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None
            if not self._large:
                _part(self._target(self._path)).unlink(missing_ok=True)

    def _open(self, chunk: pb.ArtifactChunk) -> None:
        if self._file is not None or chunk.path not in self._missing:
            raise _lost(f"the server sent {chunk.path!r} where it was not expected")
        part = _part(self._target(chunk.path))
        part.parent.mkdir(parents=True, exist_ok=True)
        self._digest = hashlib.sha256()
        if chunk.offset:
            with part.open("rb") as held:
                while data := held.read(_READ_BYTES):
                    self._digest.update(data)
                if held.tell() != chunk.offset:
                    raise _lost(f"the server sent {chunk.path!r} from another place")
        self._file = part.open("ab" if chunk.offset else "wb")
        self._path, self._size = chunk.path, chunk.size

    def _finish(self, sha256: str) -> None:
        assert self._file is not None
        size = self._file.tell()
        self._file.close()
        self._file = None
        target = self._target(self._path)
        if self._digest.hexdigest() != sha256 or size != self._size:
            _part(target).unlink()
            raise _lost(f"{self._path!r} did not arrive with its SHA-256")
        os.replace(_part(target), target)
        del self._missing[self._path]

    def _target(self, path: str) -> Path:
        return local_place(self._folder, path)


class Arrival:
    """Where downloaded artifacts go, with the folders made for them.

    `folder` is `dst_path`, or a new temporary folder; `place` is that of `path` in it.
    """

    def __init__(
        self, listed: Iterable[Artifact], path: str, dst_path: str | os.PathLike[str] | None
    ) -> None:
        self.files: list[Artifact] = []
        self.folder = Path(dst_path or tempfile.mkdtemp(prefix="mlflow-grpc-"))
        self.place = local_place(self.folder, path) if path else self.folder
        for artifact in listed:
            here = local_place(self.folder, artifact.path)
            (here if artifact.is_dir else here.parent).mkdir(parents=True, exist_ok=True)
            if not artifact.is_dir:
                self.files.append(artifact)
        if not self.files:
            self.place.mkdir(parents=True, exist_ok=True)


class Remote:
    """A file to receive."""

    def __init__(self, artifact: Artifact) -> None:
        self.path = artifact.path
        self.size = artifact.file_size or 0


def local_place(folder: Path, path: str) -> Path:
    """Where in `folder` the artifact `path` goes. Raises `DataLossError` if that is not in it."""
    parts = path.split("/")
    unsafe = {"", ".", ".."}.intersection(parts) or "\0" in path
    if os.name == "nt":
        names = {part.split(".")[0].strip().lower() for part in parts}
        unsafe = unsafe or set(path) & set('\\:*?"<>|') or names & _DEVICES
    if unsafe:
        raise _lost(f"the artifact {path!r} has no place in a folder of this machine")
    return folder.joinpath(*parts)


def _part(target: Path) -> Path:
    name = target.name
    if len(name.encode()) + len(_PART) > 255:
        # Such a name has no room for the ending.
        name = hashlib.sha256(name.encode()).hexdigest()
    return target.with_name(name + _PART)


def _lost(message: str) -> DataLossError:
    return DataLossError(grpc.StatusCode.DATA_LOSS, message)
