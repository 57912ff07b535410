"""Files of this machine as the messages of an upload."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import grpc

from mlflow_grpc._calls.artifacts import artifact, owner
from mlflow_grpc._entities import Artifact
from mlflow_grpc._errors import DataLossError
from mlflow_grpc._files.plan import Batch, Source
from mlflow_grpc.v1 import artifacts_pb2 as pb

_CHUNK_BYTES = 2**20
_MESSAGE_FILES = 500

Moved = Callable[[str, int], None]
"""Told the path of a file, and how many more bytes of it went."""


class Sending:
    """One batch, sent once or, after a cut, again from where the server is."""

    def __init__(self, of: str, batch: Batch[Source], moved: Moved) -> None:
        self._owner = owner(of)
        self._batch = batch
        self._moved = moved
        self._digests: dict[str, str] = {}
        self.sent = 0
        """How many bytes of the batch have been handed over."""

    def requests(self, offset: int) -> Generator[pb.LogArtifactsRequest, None, None]:
        """The messages of a call, from byte `offset` of a large file."""
        # What is sent a second time counts once.
        self._moved(self._batch.files[0].path, offset - self.sent)
        self.sent = offset
        requests = self._large(offset) if self._batch.is_large else self._small()
        first = next(requests)
        for name, value in self._owner.items():
            setattr(first, name, value)
        yield first
        yield from requests

    def check(self, response: pb.LogArtifactsResponse) -> list[Artifact]:
        """What the server stored. Raises `DataLossError` if that is not what was sent."""
        stored = [artifact(one) for one in response.artifacts]
        if {one.path: one.sha256 for one in stored} != self._digests:
            raise DataLossError(
                grpc.StatusCode.DATA_LOSS, "the server did not store the files that were sent"
            )
        return stored

    def _large(self, offset: int) -> Iterator[pb.LogArtifactsRequest]:
        source = self._batch.files[0]
        digest = hashlib.sha256()
        with _open(source) as file:
            skipped = 0
            while skipped < offset:
                skipped += len(_hashed(digest, file, min(_CHUNK_BYTES, offset - skipped), source))
            position, first = offset, True
            while position < source.size or first:
                data = _hashed(digest, file, min(_CHUNK_BYTES, source.size - position), source)
                position += len(data)
                request = pb.LogArtifactsRequest()
                # In its place at once: a chunk given to a message is a copy.
                chunk = request.chunks.add(data=data)
                if first:
                    chunk.path, chunk.size, chunk.offset = source.path, source.size, offset
                    chunk.upload_id = self._batch.upload_id
                    first = False
                if position == source.size:
                    chunk.sha256 = self._digests[source.path] = digest.hexdigest()
                self._count(source, len(data))
                yield request

    def _small(self) -> Iterator[pb.LogArtifactsRequest]:
        request = pb.LogArtifactsRequest()
        size = 0
        for source in self._batch.files:
            data = _content(source)
            digest = self._digests[source.path] = hashlib.sha256(data).hexdigest()
            count = len(request.chunks)
            if count and (size + len(data) > _CHUNK_BYTES or count >= _MESSAGE_FILES):
                yield request
                request, size = pb.LogArtifactsRequest(), 0
            request.chunks.add(path=source.path, size=len(data), data=data, sha256=digest)
            size += len(data)
            self._count(source, len(data))
        yield request

    def _count(self, source: Source, count: int) -> None:
        self.sent += count
        self._moved(source.path, count)


def _open(source: Source) -> BinaryIO:
    if isinstance(source.content, Path):
        return source.content.open("rb")
    return io.BytesIO(source.content)


def _content(source: Source) -> bytes:
    if isinstance(source.content, bytes):
        return source.content
    with _open(source) as file:
        # As of a large one, what was added since it was begun is left out.
        return _whole(file.read(source.size), source.size, source)


def _hashed(digest: Any, file: BinaryIO, count: int, source: Source) -> bytes:
    data = _whole(file.read(count), count, source)
    digest.update(data)
    return data


def _whole(data: bytes | None, count: int, source: Source) -> bytes:
    if data is None or len(data) != count:
        raise OSError(f"{source.content!s} changed while it was read")
    return data
