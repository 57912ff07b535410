"""Files out, as chunks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

from mlflow_grpc_server.artifacts.entries import Root
from mlflow_grpc_server.artifacts.paths import Parts
from mlflow_grpc_server.exceptions import (
    DataLossError,
    InvalidFieldError,
    NotFoundError,
    OffsetError,
    UnreadableArtifactError,
)

__all__ = ["Download", "Piece"]

# Large enough to make the cost of a message small, and small enough to bound memory.
_MESSAGE_BYTES = 2**20
_MESSAGE_PIECES = 1000


@dataclass(frozen=True)
class Piece:
    """Some bytes of a file: `path` and `offset` on the first of it, `sha256` on the last."""

    data: bytes
    path: str = ""
    size: int = 0
    offset: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Download:
    """What to send: files and folders, and of a single file perhaps a range."""

    root: Root
    wanted: tuple[Parts, ...]
    offset: int = 0
    length: int | None = None

    def messages(self) -> Generator[list[Piece], None, None]:
        """Yield the pieces of each message, up to 1 MiB of them. Blocks.

        Raises NotFoundError, InvalidFieldError, OffsetError and DataLossError.
        """
        pieces: list[Piece] = []
        size = 0
        for piece in self._pieces():
            if pieces and size + len(piece.data) > _MESSAGE_BYTES:
                yield pieces
                pieces, size = [], 0
            pieces.append(piece)
            size += len(piece.data)
            if size >= _MESSAGE_BYTES or len(pieces) >= _MESSAGE_PIECES:
                yield pieces
                pieces, size = [], 0
        if pieces:
            yield pieces

    def _pieces(self) -> Iterator[Piece]:
        ranged = self.offset > 0 or self.length is not None
        if ranged and len(self.wanted) != 1:
            raise InvalidFieldError("offset" if self.offset else "length", "goes with one file")
        for parts in self.wanted or ((),):
            if parts and self._is_file(parts, ranged=ranged):
                yield from self._file(parts)
                continue
            for entry in self.root.walk(parts, recursive=True):
                if not entry.is_dir:
                    yield from self._file(entry.parts)

    def _is_file(self, parts: Parts, *, ranged: bool) -> bool:
        is_dir = self.root.entry(parts).is_dir
        if is_dir and ranged:
            raise NotFoundError("artifact file", "/".join(parts))
        return not is_dir

    def _file(self, parts: Parts) -> Iterator[Piece]:
        path = "/".join(parts)
        with closing(_File(self.root.open(parts), path)) as file:
            if self.offset > file.size:
                raise OffsetError(path, self.offset, file.size)
            end = file.size if self.length is None else min(file.size, self.offset + self.length)
            # The SHA-256 of what is resumed is that of the whole file.
            file.skip(self.offset, hashed=self.length is None)
            first = True
            while first or file.position < end:
                data = file.read(min(_MESSAGE_BYTES, end - file.position))
                sha256 = file.digest() if file.position == end else ""
                if first:
                    yield Piece(data, path, file.size, self.offset, sha256)
                else:
                    yield Piece(data, sha256=sha256)
                first = False


class _File:
    """A file that is being read and hashed."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self._digest = hashlib.sha256()
        self.size = os.fstat(descriptor).st_size
        self.position = 0

    def skip(self, count: int, *, hashed: bool) -> None:
        if not hashed:
            self.position = os.lseek(self._descriptor, count, os.SEEK_SET)
        while self.position < count:
            self.read(min(_MESSAGE_BYTES, count - self.position))

    def read(self, count: int) -> bytes:
        data = self._read(count)
        # Some file systems give less at a time.
        while len(data) < count:
            more = self._read(count - len(data))
            if not more:
                raise DataLossError(self._path, "became shorter while it was read")
            data += more
        self._digest.update(data)
        self.position += count
        return data

    def _read(self, count: int) -> bytes:
        try:
            return os.read(self._descriptor, count)
        except OSError as error:
            raise UnreadableArtifactError(self._path) from error

    def digest(self) -> str:
        return self._digest.hexdigest()

    def close(self) -> None:
        os.close(self._descriptor)
