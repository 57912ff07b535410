"""The calls of RunService about artifacts."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_grpc._calls.call import Call, Method, Page, Pages, Service
from mlflow_grpc._entities import Artifact
from mlflow_grpc.v1 import artifacts_pb2 as pb
from mlflow_grpc.v1 import run_service_pb2

_MODELS = "models:/"
_RUNS = "runs:/"

_service = run_service_pb2.DESCRIPTOR.services_by_name["RunService"]
_call = Service(_service)

LOG_ARTIFACTS = Method(
    f"/{_service.full_name}/LogArtifacts", pb.LogArtifactsResponse.FromString, "stream_unary"
)
DOWNLOAD_ARTIFACT = Method(
    f"/{_service.full_name}/DownloadArtifact",
    pb.DownloadArtifactResponse.FromString,
    "unary_stream",
)


def owner(of: str) -> dict[str, str]:
    """The request fields that say whose artifacts: of a run id or a `models:/` URI."""
    if of.startswith(_MODELS):
        return {"model_uri": of}
    return {"run_id": of.removeprefix(_RUNS)}


def artifact(proto: pb.Artifact) -> Artifact:
    return Artifact(proto.path, proto.is_dir, None if proto.is_dir else proto.size, proto.sha256)


def list_artifacts(
    of: str, path: str | None, recursive: bool, max_results: int | None, page_size: int | None
) -> Pages[Artifact]:
    def page(size: int, token: str) -> Call[Page[Artifact]]:
        return _call(
            pb.ListArtifactsRequest(
                path=path or "",
                recursive=recursive,
                page_size=size,
                page_token=token,
                **owner(of),
            ),
            pb.ListArtifactsResponse,
            lambda r: Page(list(map(artifact, r.artifacts)), r.next_page_token),
        )

    return Pages(page, max_results, page_size)


def get_artifact_upload(of: str, path: str, upload_id: str) -> Call[int]:
    return _call(
        pb.GetArtifactUploadRequest(path=path, upload_id=upload_id, **owner(of)),
        pb.GetArtifactUploadResponse,
        lambda r: r.held_bytes,
    )


def download(
    of: str, paths: Sequence[str], offset: int = 0, length: int | None = None
) -> pb.DownloadArtifactRequest:
    return pb.DownloadArtifactRequest(paths=paths, offset=offset, length=length, **owner(of))
