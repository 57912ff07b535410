"""Chunks in, whole files out."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_grpc_server.artifacts import paths
from mlflow_grpc_server.artifacts.entries import Chunk, Root, Stored
from mlflow_grpc_server.artifacts.paths import Parts
from mlflow_grpc_server.exceptions import (
    DataLossError,
    FailedPreconditionError,
    InvalidFieldError,
)

__all__ = ["Upload", "part_key"]

_MOST_FILES = 10_000
_MOST_PATH_BYTES = 2 * 2**20
_READ_BYTES = 2**20
# Below this a thread costs more than it saves.
_THREADED_BYTES = 2**17
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass
class _Open:
    """A file that is arriving."""

    field: str
    parts: Parts
    path: str
    size: int
    resumable: bool
    staged: Path
    descriptor: int
    received: int
    digest: Any
    hashed: Future[None]
    """The last bytes that the digest is given, in a thread of its own."""


class Upload:
    """The files of one call.

    Each becomes visible when its last chunk has come. Files before a fault stay; `close` deletes
    what is unfinished, or keeps it if it can be resumed. Calls from several threads wait for
    each other.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._writer = root.writer()
        self._file: _Open | None = None
        self._stored: list[Stored] = []
        self._path_bytes = 0
        self._lock = threading.Lock()
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._closed = False

    def feed(self, chunks: Iterable[Chunk]) -> None:
        """Take in the chunks of one message."""
        with self._lock:
            if self._closed:
                return
            for index, chunk in enumerate(chunks):
                self._take(f"chunks[{index}]", chunk)

    def finish(self) -> list[Stored]:
        """Return what was stored. Raises InvalidFieldError if a file is not whole."""
        with self._lock:
            if self._file is not None:
                file = self._file
                raise InvalidFieldError(
                    "chunks", f"end before {file.path!r} does: its last chunk must have sha256"
                )
            if not self._stored:
                raise InvalidFieldError("chunks", "is required")
            return self._stored

    def close(self) -> None:
        """Let go of everything; an unfinished file is deleted unless it can be resumed."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._drop(keep=self._file.resumable)
            self._writer.close()
            self._hashing.shutdown()

    def _take(self, field: str, chunk: Chunk) -> None:
        data = chunk.data
        if chunk.path:
            self._check_new(field, chunk)
            parts = paths.parse(chunk.path, f"{field}.path")
            if chunk.sha256 and not chunk.upload_id:
                self._store_whole(field, chunk, parts, data)
                return
            self._file = self._open(field, chunk, parts)
        elif self._file is None:
            raise InvalidFieldError(f"{field}.path", "is required on the first chunk of a file")
        file = self._file
        if file.received + len(data) > file.size:
            self._drop(keep=False)
            raise InvalidFieldError(f"{field}.data", f"goes beyond the size of {file.path!r}")
        self._write(file, data)
        if chunk.sha256:
            self._finish_file(field, file, chunk.sha256)

    def _check_new(self, field: str, chunk: Chunk) -> None:
        if self._file is not None:
            raise InvalidFieldError(
                f"{field}.path", f"begins a file before {self._file.path!r} has its sha256"
            )
        self._path_bytes += len(chunk.path.encode())
        if len(self._stored) >= _MOST_FILES or self._path_bytes > _MOST_PATH_BYTES:
            raise InvalidFieldError(
                "chunks",
                f"has more than the {_MOST_FILES:,} files or {_MOST_PATH_BYTES:,} bytes of "
                "paths allowed in a call",
            )
        if chunk.size < 0:
            raise InvalidFieldError(f"{field}.size", "may not be negative")
        if chunk.offset < 0:
            raise InvalidFieldError(f"{field}.offset", "may not be negative")

    def _store_whole(self, field: str, chunk: Chunk, parts: Parts, data: bytes) -> None:
        """Store a file that came in one chunk: checked first, so that a bad one touches nothing."""
        if chunk.offset:
            raise InvalidFieldError(f"{field}.offset", "needs an upload_id")
        if len(data) != chunk.size:
            raise InvalidFieldError(f"{field}.size", f"is {chunk.size:,}; {len(data):,} came")
        digest = hashlib.sha256(data).hexdigest()
        _check_digest(f"{field}.sha256", chunk.path, chunk.sha256, digest)
        staged, descriptor = self._root.staging.create()
        with self._undone_by(lambda: staged.unlink(missing_ok=True), chunk.path):
            try:
                _write_all(descriptor, data)
            finally:
                os.close(descriptor)
            self._writer.commit(staged, parts)
        self._stored.append(Stored(chunk.path, chunk.size, digest))

    def _open(self, field: str, chunk: Chunk, parts: Parts) -> _Open:
        staging = self._root.staging
        if chunk.upload_id:
            if not _UPLOAD_ID.fullmatch(chunk.upload_id):
                raise InvalidFieldError(
                    f"{field}.upload_id", "must be 1 to 64 letters, digits, '_' and '-'"
                )
        elif chunk.offset:
            raise InvalidFieldError(f"{field}.offset", "needs an upload_id")
        staging.check_room(chunk.path, chunk.size - chunk.offset)
        if chunk.upload_id:
            key = part_key(self._root, chunk.path, chunk.upload_id)
            staged, descriptor = staging.resume(key, chunk.path)
        else:
            staged, descriptor = staging.create()
        try:
            digest = _held_digest(descriptor, chunk.path, chunk.offset)
        except BaseException:
            # What was held stays; what this call began does not.
            if not os.fstat(descriptor).st_size:
                staged.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return _Open(
            field,
            parts,
            chunk.path,
            chunk.size,
            bool(chunk.upload_id),
            staged,
            descriptor,
            chunk.offset,
            digest,
            self._hashing.submit(lambda: None),
        )

    def _write(self, file: _Open, data: bytes) -> None:
        with self._undone_by(lambda: self._drop(keep=False), file.path):
            self._hash_and_write(file, data)
        file.received += len(data)

    def _hash_and_write(self, file: _Open, data: bytes) -> None:
        file.hashed.result()
        if len(data) < _THREADED_BYTES:
            file.digest.update(data)
        else:
            file.hashed = self._hashing.submit(file.digest.update, data)
        _write_all(file.descriptor, data)

    def _finish_file(self, field: str, file: _Open, sha256: str) -> None:
        file.hashed.result()
        digest = file.digest.hexdigest()
        with self._undone_by(lambda: self._drop(keep=False), file.path):
            if file.received != file.size:
                raise InvalidFieldError(
                    f"{field}.sha256",
                    f"ends {file.path!r} after {file.received:,} of {file.size:,} bytes",
                )
            _check_digest(f"{field}.sha256", file.path, sha256, digest)
            self._writer.commit(file.staged, file.parts)
        os.close(file.descriptor)
        self._file = None
        self._stored.append(Stored(file.path, file.size, digest))

    def _drop(self, *, keep: bool) -> None:
        file, self._file = self._file, None
        assert file is not None
        if not keep:
            file.staged.unlink(missing_ok=True)
        os.close(file.descriptor)

    @contextmanager
    def _undone_by(self, undo: Callable[[], None], path: str) -> Iterator[None]:
        """Undo what fails, and say so if that is because there is no more room."""
        try:
            yield
        except BaseException as error:
            try:
                # Before anything is deleted, which would make room.
                full = self._root.staging.full(error, path) if isinstance(error, OSError) else None
            finally:
                undo()
            if full is not None:
                raise full from error
            raise


def part_key(root: Root, path: str, upload_id: str) -> str:
    """Return what names the part of an upload."""
    return f"{root.key}\0{path}\0{upload_id}"


def _held_digest(descriptor: int, path: str, offset: int) -> Any:
    """Return the hash of the first `offset` bytes held, cutting off what comes behind."""
    held = os.fstat(descriptor).st_size
    if offset > held:
        raise FailedPreconditionError(
            "NOT_HELD",
            f"Of the file {path!r}, {held:,} bytes are held, and not {offset:,}.",
            {"path": path, "held_bytes": str(held)},
        )
    if held > offset:
        # Not else: ext4 writes a file that was cut to nothing to the disk when it is closed.
        os.truncate(descriptor, offset)
    digest = hashlib.sha256()
    read = 0
    while read < offset:
        data = os.pread(descriptor, min(_READ_BYTES, offset - read), read)
        digest.update(data)
        read += len(data)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return digest


def _check_digest(field: str, path: str, wanted: str, found: str) -> None:
    if not _SHA256.fullmatch(wanted):
        raise InvalidFieldError(field, "is not 64 hexadecimal digits")
    if wanted.lower() != found:
        raise DataLossError(path, f"arrived with the SHA-256 {found}")


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])
