"""The messages of a download as files of this machine."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import grpc

from mlflow_grpc._entities import Artifact
from mlflow_grpc._errors import DataLossError
from mlflow_grpc._files.plan import Batch
from mlflow_grpc._files.sending import Moved
from mlflow_grpc._files.threads import Behind
from mlflow_grpc.v1 import artifacts_pb2 as pb

_READ_BYTES = 2**20
_PART = ".mlflow-grpc-part"
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"
}
_NOT_OF_WINDOWS = re.compile(r'[\x00-\x1f\\/:*?"<>|]')


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
        self._part: _Part | None = None
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
                self._part = self._open(chunk)
            if self._part is None:
                raise _lost("the server sent data of no file")
            data = chunk.data
            self._part.write(data)
            self.received += len(data)
            self._moved(self._part.path, len(data))
            if chunk.sha256:
                self._finish(chunk.sha256)

    def check(self) -> None:
        """Raises `DataLossError` if files are missing."""
        self.close()
        if self._missing:
            raise _lost(f"the server sent only part of the files; {self.paths[0]!r} is missing")

    def close(self) -> None:
        """Lets go of the file that is open."""
        if self._part is not None:
            self._part.close()
            if not self._large:
                self._part.place.unlink(missing_ok=True)
            self._part = None

    def _open(self, chunk: pb.ArtifactChunk) -> _Part:
        if self._part is not None or chunk.path not in self._missing:
            raise _lost(f"the server sent {chunk.path!r} where it was not expected")
        place = _part(self._target(chunk.path))
        place.parent.mkdir(parents=True, exist_ok=True)
        part = _Part(chunk.path, chunk.size, place, is_large=self._large)
        try:
            part.open(chunk.offset)
        except BaseException:
            part.close()
            raise
        return part

    def _finish(self, sha256: str) -> None:
        part, self._part = self._part, None
        assert part is not None
        part.close()
        if not part.is_whole(sha256):
            part.place.unlink()
            raise _lost(f"{part.path!r} did not arrive with its SHA-256")
        os.replace(part.place, self._target(part.path))
        del self._missing[part.path]

    def _target(self, path: str) -> Path:
        return local_place(self._folder, path)


class _Part:
    """A file that is arriving; a large one is written and hashed at the same time."""

    def __init__(self, path: str, size: int, place: Path, *, is_large: bool) -> None:
        self.path = path
        self.place = place
        self._size = size
        self._written = 0
        self._digest = hashlib.sha256()
        self._hashing = Behind() if is_large else None
        self._file: BinaryIO | None = None

    def open(self, offset: int) -> None:
        """Begin to write, from byte `offset`. Raises `DataLossError` if not as much is held."""
        if offset:
            with self.place.open("rb") as held:
                while data := held.read(_READ_BYTES):
                    self._digest.update(data)
                self._written = held.tell()
            if self._written != offset:
                raise _lost(f"the server sent {self.path!r} from another place")
        self._file = self.place.open("ab" if offset else "wb")

    def write(self, data: bytes) -> None:
        """Take what comes next."""
        assert self._file is not None
        if self._hashing is None:
            self._digest.update(data)
        else:
            self._hashing.run(self._digest.update, data)
        self._file.write(data)
        self._written += len(data)

    def is_whole(self, sha256: str) -> bool:
        """Whether everything has come, when it is closed."""
        return self._written == self._size and self._digest.hexdigest() == sha256

    def close(self) -> None:
        """Let go of the file."""
        if self._hashing is not None:
            self._hashing.close()
        if self._file is not None:
            self._file.close()


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
    if unsafe or (os.name == "nt" and not all(map(is_windows_name, parts))):
        raise _lost(f"the artifact {path!r} has no place in a folder of this machine")
    return folder.joinpath(*parts)


def is_windows_name(part: str) -> bool:
    """Whether Windows takes a part of a path for the name that it is, and not for another one,
    a stream of a file, or a device."""
    device = part.split(".")[0].strip().lower() in _DEVICES
    return not (device or part.endswith((" ", ".")) or _NOT_OF_WINDOWS.search(part))


def _part(target: Path) -> Path:
    name = target.name
    if len(name.encode()) + len(_PART) > 255:
        # Such a name has no room for the ending.
        name = hashlib.sha256(name.encode()).hexdigest()
    return target.with_name(name + _PART)


def _lost(message: str) -> DataLossError:
    return DataLossError(grpc.StatusCode.DATA_LOSS, message)
