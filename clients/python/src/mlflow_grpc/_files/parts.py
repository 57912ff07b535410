"""Files that are arriving, beside their places."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import uuid
from pathlib import Path
from typing import Any, BinaryIO

from mlflow_grpc._files.threads import Behind

if sys.platform != "win32":
    import fcntl

__all__ = ["Part", "part_name"]

_READ_BYTES = 2**20
_ENDING = ".mlflow-grpc-part"
_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


class Part:
    """What has arrived of a file, for the next download to go on from.

    It is a part of this download alone while another one to the same place writes to it, and
    unless it `may_stay`. A large file is written and hashed at the same time.
    """

    def __init__(self, path: str, target: Path, *, is_large: bool, may_stay: bool) -> None:
        self.path = path
        self._target = target
        self._digest = hashlib.sha256()
        self._hashing = Behind() if is_large else None
        target.parent.mkdir(parents=True, exist_ok=True)
        self._place = target.with_name(part_name(target.name))
        claimed = _claimed(self._place) if may_stay else None
        self._is_kept = claimed is not None
        if claimed is None:
            self._place = target.with_name(uuid.uuid4().hex + _ENDING)
            claimed = self._place.open("x+b")
        self._file: BinaryIO = claimed
        self._size = -1
        self._written = 0

    @property
    def held(self) -> int:
        """How many bytes there are, until data is written."""
        return os.fstat(self._file.fileno()).st_size

    @property
    def has_begun(self) -> bool:
        """Whether `begin` has been called."""
        return self._size >= 0

    def begin(self, size: int, offset: int) -> bool:
        """Go on from byte `offset` of a file of `size`; returns whether as much is held."""
        while self._written < offset:
            data = self._file.read(min(_READ_BYTES, offset - self._written))
            if not data:
                return False
            self._digest.update(data)
            self._written += len(data)
        self._file.seek(offset)
        if self.held > offset:
            # Not else: ext4 writes a file that was cut to nothing to the disk when it is closed.
            self._file.truncate()
        self._size = size
        return True

    def write(self, data: bytes) -> None:
        """Take what comes next."""
        if self._hashing is None:
            self._digest.update(data)
        else:
            self._hashing.run(self._digest.update, data)
        self._file.write(data)
        self._written += len(data)

    def finish(self, sha256: str) -> bool:
        """Move it to its place, and let go of it, if it is whole; returns whether it was."""
        try:
            if self._hashing is not None:
                self._hashing.close()
            if self._written != self._size or self._digest.hexdigest() != sha256:
                self.forget()
                return False
            self._file.flush()
            return self._move()
        finally:
            self.close()

    def forget(self) -> None:
        """Nothing of it is to stay when it is closed."""
        self._is_kept = False

    def close(self) -> None:
        """Let go of the file, which stays if a later download can go on from it."""
        if self._hashing is not None:
            self._hashing.close()
        if self._file.closed:
            return
        try:
            # Before the lock is gone: then it may be another's.
            if not self._is_kept and os.name != "nt":
                self._place.unlink(missing_ok=True)
        finally:
            self._file.close()
        if not self._is_kept and os.name == "nt":
            self._place.unlink(missing_ok=True)

    def _move(self) -> bool:
        """Put it in its place; returns whether it was still there to be moved."""
        is_there = _is_at(self._file, self._place)
        if is_there:
            if os.name == "nt":
                # What is open cannot be moved there.
                self._file.close()
            os.replace(self._place, self._target)
        # There is nothing at its place any more, or what is another's.
        self._is_kept = True
        return is_there


def part_name(name: str) -> str:
    """The name, beside a file, of what has arrived of it and may stay."""
    if len(name.encode()) + len(_ENDING) > 255:
        # Such a name has no room for the ending.
        name = hashlib.sha256(name.encode()).hexdigest()
    return name + _ENDING


def _claimed(place: Path) -> BinaryIO | None:
    """The file at a place, new or as it is, for this download alone; None if it is another's."""
    while True:
        try:
            file = os.fdopen(os.open(place, _OPEN, 0o666), "r+b")
        except (IsADirectoryError, PermissionError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                # A link, to a file that is no part of anything.
                return None
            raise
        if not _lock(file):
            file.close()
            return None
        if _is_at(file, place):
            return file
        # Another download has moved or deleted it before it was locked.
        file.close()


def _lock(file: Any) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # A file system without locks.
            return True
    return True


def _is_at(file: BinaryIO, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(place))
    except FileNotFoundError:
        return False
