"""The messages of a download as files of this machine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from mlflow_grpc._entities import Artifact
from mlflow_grpc._errors import DataLossError, NotFoundError
from mlflow_grpc._files.parts import Part, part_name
from mlflow_grpc._files.plan import Batch
from mlflow_grpc._files.sending import Moved
from mlflow_grpc.v1 import artifacts_pb2 as pb

_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³"
}
_NOT_OF_WINDOWS = re.compile(r'[\x00-\x1f\\/:*?"<>|]')


class Receiving:
    """One batch, received once or, after a cut, from where it was cut.

    A file is written beside its place and moved there when it has its SHA-256. What there is of
    a large file stays when the download fails, and the next download goes on from it, unless it
    would be where one of `all_paths` goes.
    """

    def __init__(
        self, batch: Batch[Remote], folder: Path, all_paths: Collection[str], moved: Moved
    ) -> None:
        self._missing = {file.path: file for file in batch.files}
        self._large = batch.is_large
        self._folder = folder
        self._all_paths = all_paths
        self._moved = moved
        self._part: Part | None = None
        # A small one is soon begun anew.
        self._may_stay = batch.is_large
        self.received = 0
        """How many bytes of the batch are there."""

    @property
    def paths(self) -> list[str]:
        """What is still to be received."""
        return list(self._missing)

    @property
    def is_whole(self) -> bool:
        """Whether every file is in its place, whatever came of the call that brought the last."""
        return not self._missing

    def begin(self) -> int:
        """Where the next call begins in a large file; 0 for small ones."""
        self.close()
        if not self._large:
            return 0
        (remote,) = self._missing.values()
        part = self._part = self._new_part(remote.path)
        held = part.held
        if held > remote.size:
            held = 0
        self._moved(remote.path, held - self.received)
        self.received = held
        return held

    def restart(self) -> None:
        """Forget what is held, and trust no more in what others may have put in its place."""
        self._may_stay = False
        if self._part is not None:
            self._part.forget()
        self.close()

    def take(self, chunks: Iterable[pb.ArtifactChunk]) -> None:
        """Write chunks. Raises `DataLossError` for a file without its SHA-256."""
        for chunk in chunks:
            if chunk.path:
                self._begin_file(chunk)
            if self._part is None or not self._part.has_begun:
                raise _lost("the server sent data of no file")
            data = chunk.data
            self._part.write(data)
            self.received += len(data)
            self._moved(self._part.path, len(data))
            if chunk.sha256:
                self._finish(self._part, chunk.sha256)

    def check(self) -> None:
        """Raises `DataLossError` if files are missing."""
        if not self.is_whole:
            raise _lost(f"the server sent only part of the files; {self.paths[0]!r} is missing")

    def close(self) -> None:
        """Lets go of the file that is open."""
        if self._part is not None:
            self._part.close()
            self._part = None

    def _begin_file(self, chunk: pb.ArtifactChunk) -> None:
        path, part = chunk.path, self._part
        if path not in self._missing or (part is not None and part.has_begun):
            raise _lost(f"the server sent {path!r} where it was not expected")
        if part is None:
            part = self._part = self._new_part(path)
        if not part.begin(chunk.size, chunk.offset):
            raise _lost(f"the server sent {path!r} from another place")

    def _finish(self, part: Part, sha256: str) -> None:
        self._part = None
        if not part.finish(sha256):
            raise _lost(f"{part.path!r} did not arrive with its SHA-256")
        del self._missing[part.path]

    def _new_part(self, path: str) -> Part:
        folder, slash, name = path.rpartition("/")
        may_stay = self._may_stay and folder + slash + part_name(name) not in self._all_paths
        target = local_place(self._folder, path)
        return Part(path, target, is_large=self._large, may_stay=may_stay)


class Reading:
    """The content of a file, or of a range of it."""

    def __init__(self, path: str, offset: int, length: int | None) -> None:
        self._path = path
        # Of a file that is read from its middle on, the server tells the SHA-256 of all.
        self._is_checked = not offset or length is not None
        self._data: list[bytes] = []
        self._digest = hashlib.sha256()
        self._has_begun = False
        self._is_whole = False
        self.received = 0
        """How many bytes are there."""

    def take(self, chunks: Iterable[pb.ArtifactChunk]) -> None:
        """Keep what comes next.

        Raises `NotFoundError` if it is of a folder, `DataLossError` if it is not what was sent.
        """
        for chunk in chunks:
            if chunk.path not in ("", self._path):
                raise self._no_file()
            if not chunk.path and not self._has_begun:
                raise _lost("the server sent data of no file")
            self._has_begun = True
            data = chunk.data
            self._data.append(data)
            self._digest.update(data)
            self.received += len(data)
            if chunk.sha256:
                self._is_whole = True
                if self._is_checked and chunk.sha256 != self._digest.hexdigest():
                    raise _lost(f"{self._path!r} did not arrive with its SHA-256")

    def content(self) -> bytes:
        """All of it. Raises `NotFoundError` for a folder, `DataLossError` if the end is missing."""
        if not self._has_begun:
            # Of an empty file a chunk comes, of an empty folder none.
            raise self._no_file()
        if not self._is_whole:
            raise _lost(f"the server sent only part of {self._path!r}")
        return b"".join(self._data)

    def _no_file(self) -> NotFoundError:
        return NotFoundError(
            grpc.StatusCode.NOT_FOUND,
            f"There is no artifact file {self._path!r}: it is a folder.",
            "ARTIFACT_FILE_NOT_FOUND",
            {"name": self._path},
        )


class Arrival:
    """Where downloaded artifacts go, with the folders made for them.

    `folder` is `dst_path`, or a new temporary folder; `place` is that of `path` in it.
    """

    def __init__(
        self, listed: Iterable[Artifact], path: str, dst_path: str | os.PathLike[str] | None
    ) -> None:
        self._is_ours = not dst_path
        self.folder = Path(dst_path or tempfile.mkdtemp(prefix="mlflow-grpc-"))
        with self.filling():
            self.place = local_place(self.folder, path) if path else self.folder
            places = [(artifact, local_place(self.folder, artifact.path)) for artifact in listed]
            for artifact, here in places:
                (here if artifact.is_dir else here.parent).mkdir(parents=True, exist_ok=True)
            self.files = [artifact for artifact, _ in places if not artifact.is_dir]
            if not self.files:
                self.place.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """A block that brings the files. If it fails, a folder that nobody knows of is deleted."""
        try:
            yield
        except BaseException:
            if self._is_ours:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise


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


def _lost(message: str) -> DataLossError:
    return DataLossError(grpc.StatusCode.DATA_LOSS, message)
