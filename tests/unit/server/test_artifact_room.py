"""A disk that fills while files arrive."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from mlflow_grpc.v1 import artifacts_pb2 as pb
from mlflow_grpc_server.artifacts.local import LocalRoot
from mlflow_grpc_server.artifacts.staging import Staging
from mlflow_grpc_server.artifacts.uploads import Upload
from mlflow_grpc_server.exceptions import NoSpaceError
from tests.artifacts import pieces, small_disk, whole


def refused(upload: Upload, chunk: pb.ArtifactChunk) -> int | None:
    """How many bytes are free, if a chunk has no room."""
    try:
        upload.feed([chunk])
    except NoSpaceError as error:
        return int(error.metadata["free_bytes"])
    return None


def test_what_is_free_is_told_before_what_did_not_fit_is_deleted(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    piece = 2**20
    with small_disk(disk, 8):
        root = LocalRoot(disk / "run", Staging(disk / "staging"))
        first, second, third = uploads = [Upload(root) for _ in range(3)]
        # Either has room, both have not.
        files = [pieces(name, b"x" * 6 * piece, piece) for name in "ab"]
        each = zip((first, second) * 6, chain(*zip(*files, strict=True)), strict=True)
        free = next(free for pair in each if (free := refused(*pair)) is not None)
        assert free < piece
        free_for_whole = refused(third, whole("whole", b"x" * 7 * piece))
        assert free_for_whole is not None
        assert free_for_whole < 7 * piece
        for upload in uploads:
            upload.close()
        assert root.staging.free_bytes() > 7 * piece
