"""Files that are still arriving, in a hidden folder beside the artifacts."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from mlflow_grpc_server.exceptions import ConcurrentUploadError, NoSpaceError

__all__ = ["STAGING_NAME", "Staging"]

T = TypeVar("T")

STAGING_NAME = ".mlflow-grpc-staging"

_logger = logging.getLogger(__name__)

# What may be swept. An operator may name a folder that others use as well. Libraries of stores
# write to a file beside the one that they are given, whose name goes on from that one's.
_OURS = re.compile(r"([0-9a-f]{32}\.tmp)(\..+)?|[0-9a-f]{40}\.part|mlflow-grpc-named-.+")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Staging:
    """A folder of half-sent files, on the file system where they will end up.

    A part is named after what it is a part of, so that any replica and a restarted server find
    it. Who writes to one holds its lock, which ends with the process. While the folder is there,
    the file `marker` elsewhere holds its path.
    """

    def __init__(
        self, folder: Path, most_bytes: int | None = None, marker: Path | None = None
    ) -> None:
        self.folder = folder
        self._most_bytes = most_bytes
        self._marker = marker
        self._opened = time.time()

    def create(self) -> tuple[Path, int]:
        """Make a new empty file; return its path and a locked descriptor."""
        path = self.folder / f"{uuid.uuid4().hex}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = self._there(lambda: os.open(path, flags, 0o666))
        _lock(descriptor)
        return path, descriptor

    @contextmanager
    def beside(self) -> Iterator[Path]:
        """A folder that is there for the block, for a file that needs a name of its own."""
        folder = Path(tempfile.mkdtemp(prefix="mlflow-grpc-named-", dir=self.folder))
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _lock(descriptor)
            yield folder
        finally:
            os.close(descriptor)
            shutil.rmtree(folder)

    def resume(self, key: str, shown: str) -> tuple[Path, int]:
        """Open the part of `key`, new or held; return its path and a locked descriptor.

        Raises ConcurrentUploadError if another call has it open.
        """
        path = self.part(key)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            descriptor = self._there(lambda: os.open(path, flags, 0o666))
            if not _lock(descriptor):
                os.close(descriptor)
                raise ConcurrentUploadError(shown)
            if _is_at(descriptor, path):
                return path, descriptor
            # It was finished or swept before it was locked.
            os.close(descriptor)

    def part(self, key: str) -> Path:
        """Return where the part of `key` is, if it is."""
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.part"

    def held(self, key: str) -> int:
        """Return how many bytes are held of `key`."""
        try:
            return self.part(key).stat().st_size
        except FileNotFoundError:
            return 0

    def check_room(self, path: str, wanted: int) -> None:
        """Raise NoSpaceError if `wanted` more bytes have no room."""
        free = self.free_bytes()
        if wanted > free:
            raise NoSpaceError(path, free)

    def free_bytes(self) -> int:
        """Return how many more bytes there is room for."""
        found = self._there(lambda: os.statvfs(self.folder))
        free = found.f_bavail * found.f_frsize
        if self._most_bytes is None:
            return free
        with os.scandir(self.folder) as entries:
            used = sum(_size(entry) for entry in entries if _OURS.fullmatch(entry.name))
        return max(0, min(free, self._most_bytes - used))

    def full(self, error: OSError, path: str) -> NoSpaceError | None:
        """Return what to raise for `error` if it says that there is no more room."""
        return NoSpaceError(path, self.free_bytes()) if error.errno in _FULL else None

    def sweep(self, seconds: float) -> int:
        """Delete what nobody has written to for `seconds`; return how many files that were.

        Time before this process does not count: who lost the server may come back to it.
        """
        deleted = 0
        before = time.time() - seconds
        if self._opened >= before:
            return 0
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                ours = _OURS.fullmatch(entry.name)
                if not ours or (ours[2] and (self.folder / ours[1]).exists()):
                    # The lock is on the file that it was to become.
                    continue
                try:
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        deleted += _delete_unlocked(entry.path, before)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    _logger.warning("cannot delete %s: %s", entry.name, error.strerror)
        return deleted

    def remove(self) -> bool:
        """Delete the folder if nothing is in it; return whether it is gone. Its next use makes it
        anew."""
        if not self.folder.parent.is_dir():
            # It may be on a disk that is not there now, or not on this machine.
            return False
        # The marker first: whoever makes the folder anew marks it anew.
        if self._marker is not None:
            with suppress(OSError):
                self._marker.unlink(missing_ok=True)
        try:
            os.rmdir(self.folder)
        except FileNotFoundError:
            return True
        except OSError:
            self._mark()
            return False
        return True

    def _there(self, use: Callable[[], T]) -> T:
        """Return what `use` does, with the folder there."""
        while True:
            try:
                return use()
            except FileNotFoundError:
                self._mark()
                # Another call may remove it again before it is used.
                self.folder.mkdir(parents=True, exist_ok=True)

    def _mark(self) -> None:
        """Leave word of the folder. Without it uploads are as good, but may not be swept."""
        if self._marker is None:
            return
        with suppress(OSError):
            self._marker.parent.mkdir(parents=True, exist_ok=True)
            self._marker.write_bytes(os.fsencode(self.folder))


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path | str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _delete_unlocked(path: str, before: float) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # Until it was locked, another call may have written to it or put a new one in its place.
        if not _lock(descriptor) or not _is_at(descriptor, path):
            return False
        found = os.fstat(descriptor)
        if found.st_mtime >= before:
            return False
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
        return True
    finally:
        os.close(descriptor)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
