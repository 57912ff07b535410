"""Artifacts in a folder of this machine."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow_grpc_server.artifacts.entries import Entry, walk
from mlflow_grpc_server.artifacts.paths import Parts, can_be_listed
from mlflow_grpc_server.artifacts.staging import Staging
from mlflow_grpc_server.exceptions import (
    ArtifactStoreError,
    FailedPreconditionError,
    NotFoundError,
    UnreadableArtifactError,
)

__all__ = ["LocalRoot"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP)
# ENXIO is what the opening of a socket gives.
_ABSENT = (errno.ENOENT, errno.ENAMETOOLONG, errno.ENXIO, *_NO_FOLDER)
_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
# A list that is read page by page looks at little more of each page than it gives.
_LOOKED_AT = 100


class LocalRoot:
    """The folder of one run or model.

    Every part of a path is opened below the one before without following symbolic links, so
    that no path and no link, however it is raced, leads out of the folder.
    """

    def __init__(self, folder: Path, staging: Staging) -> None:
        self._folder = folder
        self.staging = staging
        self.key = str(folder)

    def writer(self) -> LocalWriter:
        """Return a place for whole files."""
        return LocalWriter(self._folder)

    def open(self, parts: Parts) -> int:
        """Return a descriptor of a file. Raises NotFoundError."""
        with _reading(parts), self._opened(parts[:-1]) as folder:
            descriptor = os.open(parts[-1], _FILE, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotFoundError("artifact file", "/".join(parts))
        return descriptor

    def entry(self, parts: Parts) -> Entry:
        """Return what is at a path. Raises NotFoundError."""
        if not parts:
            return Entry((), True, 0)
        with _reading(parts), self._opened(parts[:-1]) as folder:
            found = _entry(folder, parts)
        if found is None:
            raise NotFoundError("artifact", "/".join(parts))
        return found

    def walk(self, parts: Parts, *, recursive: bool, after: Parts = ()) -> Iterator[Entry]:
        """Yield what is in a folder, by path, from behind `after`."""
        return walk(parts, self._entries, recursive=recursive, after=after)

    def _entries(self, parts: Parts, after: str) -> Iterator[Entry]:
        try:
            with _reading(parts), self._opened(parts) as folder:
                names = sorted(name for name in os.listdir(folder) if name >= after)
        except NotFoundError:
            if parts:
                raise
            # The folder of a run is made with its first file.
            names = []
        return self._looked_at(parts, names)

    def _looked_at(self, parts: Parts, names: list[str]) -> Iterator[Entry]:
        """Yield what the names in a folder are, without what is gone since.

        The folder is open only while it is looked at: it may be one of hundreds, each in another.
        """
        for start in range(0, len(names), _LOOKED_AT):
            some = [(*parts, name) for name in names[start : start + _LOOKED_AT]]
            try:
                with _reading(parts), self._opened(parts) as folder:
                    found = [_entry(folder, one) for one in some if can_be_listed(one[-1])]
            except NotFoundError:
                return
            yield from filter(None, found)

    @contextmanager
    def _opened(self, parts: Parts) -> Iterator[int]:
        folder = os.open(self._folder, _FOLDER & ~os.O_NOFOLLOW)
        for part in parts:
            folder = _step(folder, part)
        try:
            yield folder
        finally:
            os.close(folder)


class LocalWriter:
    """Moves whole files to their places in a folder. Used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: Parts = ()
        self._descriptor = -1

    def commit(self, staged: Path, parts: Parts) -> None:
        """Move a staged file to its place, in one step.

        Raises FailedPreconditionError if a folder is there, or a file where a folder has to be.
        """
        try:
            folder = self._open_parent(parts[:-1])
            os.rename(staged, parts[-1], dst_dir_fd=folder)
        except IsADirectoryError as error:
            raise _blocked(parts, "ARTIFACT_IS_FOLDER", "is a folder") from error
        except OSError as error:
            if error.errno not in _NO_FOLDER:
                raise
            raise _blocked(parts, "PARENT_IS_FILE", "would be below a file") from error

    def close(self) -> None:
        """Let go of the folder."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open_parent(self, parts: Parts) -> int:
        # Files of one folder mostly come one after the other.
        if self._descriptor >= 0 and parts == self._parts and _is_there(self._descriptor):
            return self._descriptor
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._folder, _FOLDER & ~os.O_NOFOLLOW)
        for part in parts:
            try:
                os.mkdir(part, dir_fd=folder)
            except FileExistsError:
                pass
            except BaseException:
                os.close(folder)
                raise
            folder = _step(folder, part)
        self._parts, self._descriptor = parts, folder
        return folder


def _is_there(folder: int) -> bool:
    return os.fstat(folder).st_nlink > 0


@contextmanager
def _reading(parts: Parts) -> Iterator[None]:
    """Turn the system's errors into what they mean for who reads an artifact."""
    path = "/".join(parts)
    try:
        yield
    except OSError as error:
        if error.errno in _ABSENT:
            raise NotFoundError("artifact", path) from error
        if error.errno in _PASSING:
            raise ArtifactStoreError from error
        raise UnreadableArtifactError(path) from error


def _entry(folder: int, parts: Parts) -> Entry | None:
    """A file or folder in an open folder; None for what is neither, or gone since."""
    try:
        found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None
    if stat.S_ISDIR(found.st_mode):
        return Entry(parts, True, 0)
    return Entry(parts, False, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _step(folder: int, part: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=folder)
    finally:
        os.close(folder)


def _blocked(parts: Parts, reason: str, fault: str) -> FailedPreconditionError:
    path = "/".join(parts)
    return FailedPreconditionError(reason, f"The artifact {path!r} {fault}.", {"path": path})
