"""Where a model version's files may come from. Every method blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.server.handlers import (
    _is_mlflow_artifact_source,
    _is_uri_within_root,
    _validate_non_local_source_contains_relative_paths,
)
from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository
from mlflow.store.artifact.utils.models import ParsedModelUri, _parse_model_uri
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import append_to_uri_path, is_local_uri

from mlflow_grpc_server.convert.fields import blame, is_local, uri
from mlflow_grpc_server.exceptions import InvalidFieldError
from mlflow_grpc_server.tracking.refusals import not_found
from mlflow_grpc_server.tracking.versions import registered_version

__all__ = ["Source", "Sources"]

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """The place of a model's files, and the run and logged model they belong to."""

    uri: str
    run_id: str | None
    model_id: str | None


class Sources:
    """Resolves sources as `mlflow.register_model` does, under `mlflow server`'s rules.

    Those keep a caller from registering, and so from reading, folders of the server that are no
    artifacts.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def resolve(self, source: str, run_id: str | None, model_id: str | None) -> Source:
        """Return the place that `source` means.

        Raises NotFoundError for a run, model or version that does not exist and
        InvalidFieldError for a source that is malformed or out of bounds.
        """
        scheme = uri("source", source).scheme
        if scheme == "runs":
            return self._from_run(source, run_id, model_id)
        if scheme == "models":
            return self._from_models(source, run_id, model_id)
        self._check_within(source, run_id, model_id)
        return Source(source, run_id, model_id)

    def _from_run(self, source: str, run_id: str | None, model_id: str | None) -> Source:
        with blame("source"):
            _validate_non_local_source_contains_relative_paths(source)
        source_run_id, path = _parsed(RunsArtifactRepository.parse_runs_uri, source)
        if not path:
            raise InvalidFieldError("source", "names no folder of the run: runs:/RUN_ID/FOLDER")
        if run_id not in (None, source_run_id):
            raise InvalidFieldError("run_id", "is not the run of the source")
        with not_found("run", source_run_id):
            run = self._client.get_run(source_run_id)
        model_id = model_id or self._logged_under(run.info.experiment_id, source_run_id, path)
        if model_id:
            return Source(f"models:/{self._model(model_id).model_id}", source_run_id, model_id)
        return Source(append_to_uri_path(run.info.artifact_uri, path), source_run_id, None)

    def _logged_under(self, experiment_id: str, run_id: str, name: str) -> str | None:
        if set(name) & set("'\"/:.%"):
            return None
        models = self._client.search_logged_models(
            experiment_ids=[experiment_id], filter_string=f"name = '{name}'"
        )
        of_run = [model for model in models if model.source_run_id == run_id]
        newest = max(of_run, key=lambda model: model.creation_timestamp, default=None)
        return newest.model_id if newest else None

    def _from_models(self, source: str, run_id: str | None, model_id: str | None) -> Source:
        parsed = _parse(source)
        if parsed.model_id:
            if model_id not in (None, parsed.model_id):
                raise InvalidFieldError("model_id", "is not the model of the source")
            model = self._model(parsed.model_id)
            return Source(source, run_id or model.source_run_id or None, parsed.model_id)
        version = registered_version(self._client, source)
        return Source(
            f"models:/{version.name}/{version.version}",
            run_id or version.run_id or None,
            model_id or version.model_id,
        )

    def _check_within(self, source: str, run_id: str | None, model_id: str | None) -> None:
        """Refuse a folder of the server that is not the run's or the model's."""
        root = self._artifact_root(run_id, model_id)
        if is_local("source", source):
            if root is None or not is_local_uri(root) or not _contains(root, source):
                raise InvalidFieldError(
                    "source", "is a local folder outside the artifacts of run_id or model_id"
                )
            return
        with blame("source"):
            _validate_non_local_source_contains_relative_paths(source)
        if _is_mlflow_artifact_source(source) and not (root and _is_uri_within_root(source, root)):
            raise InvalidFieldError("source", "lies outside the artifacts of run_id or model_id")

    def _artifact_root(self, run_id: str | None, model_id: str | None) -> str | None:
        root: str | None = None
        if run_id:
            with not_found("run", run_id):
                root = self._client.get_run(run_id).info.artifact_uri
        if model_id:
            root = self._model(model_id).artifact_location
        return root

    def _model(self, model_id: str) -> LoggedModel:
        with not_found("logged model", model_id):
            return self._client.get_logged_model(model_id)


def _parse(source: str) -> ParsedModelUri:
    if urlsplit(source).netloc:
        raise InvalidFieldError("source", "may not name another registry")
    return _parsed(_parse_model_uri, source)


def _parsed(parse: Callable[[str], T], source: str) -> T:
    try:
        return parse(source)
    except Exception as error:  # MLflow's parsers raise whatever they trip over.
        raise InvalidFieldError("source", f"does not parse: {error}") from error


def _contains(root: str, source: str) -> bool:
    folder = Path(local_file_uri_to_path(root)).resolve()
    wanted = Path(local_file_uri_to_path(source)).resolve()
    return folder in (wanted, *wanted.parents)
