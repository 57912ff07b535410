"""Artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mlflow_grpc.v1 import artifacts_pb2 as pb
from mlflow_grpc_server.artifacts import paths
from mlflow_grpc_server.artifacts.downloads import Piece
from mlflow_grpc_server.artifacts.entries import Entry, Stored
from mlflow_grpc_server.artifacts.paths import Parts
from mlflow_grpc_server.artifacts.store import Owner
from mlflow_grpc_server.convert import fields
from mlflow_grpc_server.exceptions import InvalidFieldError

__all__ = [
    "entry_to_proto",
    "folder",
    "owner",
    "pieces_to_proto",
    "range_of",
    "same_owner",
    "stored_to_proto",
    "upload",
    "wanted",
]

_MOST_PATHS = 10_000
_MOST_URI = 1000


def owner(request: Any) -> Owner:
    """Return whose artifacts a request is about."""
    kind = request.WhichOneof("owner")
    if kind == "run_id":
        return Owner(run_id=fields.run_id(request.run_id))
    if kind == "model_uri":
        uri = fields.text("model_uri", request.model_uri, _MOST_URI, required=True)
        return Owner(model_uri=uri)
    raise InvalidFieldError("run_id", "or model_uri is required")


def same_owner(request: pb.LogArtifactsRequest, before: Owner | None) -> Owner:
    """Return whose artifacts a stream is about; messages after the first may leave it out."""
    named = request.WhichOneof("owner")
    if before is not None and named is None:
        return before
    here = owner(request)
    if before is not None and here != before:
        raise InvalidFieldError(str(named), "is not that of the first message")
    return here


def upload(request: pb.GetArtifactUploadRequest) -> tuple[str, str]:
    """Return the path and the id of an upload."""
    paths.parse(request.path, "path")
    return request.path, fields.text("upload_id", request.upload_id, 64, required=True)


def folder(path: str) -> Parts:
    """Return the parts of a path, of which the empty one means everything."""
    return paths.listed(path, "path") if path else ()


def wanted(request: pb.DownloadArtifactRequest) -> tuple[Parts, ...]:
    """Return the paths to download."""
    fields.at_most("paths", request.paths, _MOST_PATHS)
    return tuple(paths.listed(path, f"paths[{index}]") for index, path in enumerate(request.paths))


def range_of(request: pb.DownloadArtifactRequest) -> tuple[int, int | None]:
    """Return the offset and the length to download, None for the rest."""
    length = request.length if request.HasField("length") else None
    if request.offset < 0:
        raise InvalidFieldError("offset", "may not be negative")
    if length is not None and length < 1:
        raise InvalidFieldError("length", "must be at least 1")
    ranged = "offset" if request.offset else "length" if length is not None else None
    if ranged and len(request.paths) != 1:
        raise InvalidFieldError(ranged, "goes with one file")
    return request.offset, length


def entry_to_proto(entry: Entry) -> pb.Artifact:
    """Return a file or folder."""
    return pb.Artifact(path=entry.path, is_dir=entry.is_dir, size=entry.size)


def stored_to_proto(stored: Sequence[Stored]) -> pb.LogArtifactsResponse:
    """Return the files that were stored."""
    return pb.LogArtifactsResponse(
        artifacts=[pb.Artifact(path=s.path, size=s.size, sha256=s.sha256) for s in stored]
    )


def pieces_to_proto(pieces: Iterable[Piece]) -> pb.DownloadArtifactResponse:
    """Return a message of a download."""
    message = pb.DownloadArtifactResponse()
    for piece in pieces:
        # In its place at once: a chunk given to a message is a copy.
        message.chunks.add(
            path=piece.path,
            size=piece.size,
            offset=piece.offset,
            data=piece.data,
            sha256=piece.sha256,
        )
    return message
