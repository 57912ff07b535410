"""Finds the artifacts of runs and models."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.lifecycle_stage import LifecycleStage
from mlflow.store.artifact.utils.models import ParsedModelUri, _parse_model_uri
from mlflow.utils.uri import is_local_uri

from mlflow_grpc_server.artifacts.downloads import Download
from mlflow_grpc_server.artifacts.entries import Root
from mlflow_grpc_server.artifacts.local import LocalRoot
from mlflow_grpc_server.artifacts.locations import folder_of, place_of
from mlflow_grpc_server.artifacts.paths import Parts
from mlflow_grpc_server.artifacts.remote import RemoteRoot
from mlflow_grpc_server.artifacts.staging import STAGING_NAME
from mlflow_grpc_server.artifacts.stagings import Stagings
from mlflow_grpc_server.artifacts.uploads import Upload, part_key
from mlflow_grpc_server.convert.fields import uri
from mlflow_grpc_server.exceptions import (
    FailedPreconditionError,
    InvalidFieldError,
)
from mlflow_grpc_server.tracking.refusals import absent
from mlflow_grpc_server.tracking.versions import registered_version

__all__ = ["Artifacts", "Owner", "Places"]


@dataclass(frozen=True)
class Owner:
    """Whose artifacts: of a run, or of the model that a `models:/` URI names."""

    run_id: str = ""
    model_uri: str = ""


@dataclass(frozen=True)
class Places:
    """Where artifacts are.

    `destination` is what `mlflow-artifacts:/` stands for, None where an MLflow server behind
    this one resolves it. Files for stores that are no folder pass through `staging`, up to
    `staging_bytes` at a time.
    """

    tracking_uri: str
    destination: str | None
    default_root: str
    staging: str | None
    staging_bytes: int


class Artifacts:
    """The artifacts of every run and model. Every method blocks.

    Raises NotFoundError for what does not exist, and InvalidFieldError for what cannot.
    """

    def __init__(self, client: MlflowClient, places: Places) -> None:
        self._client = client
        self._places = places
        self._shared = _local_folders(places)
        remote = _remote_staging(places)
        # What a server before this one left there is swept, whether or not it is used again.
        always = [top / STAGING_NAME for top in self._shared]
        if places.staging or not places.destination or any(map(_is_remote, _locations(places))):
            always.append(remote)
        self._stagings = Stagings(always, {remote: places.staging_bytes})

    def upload(self, owner: Owner) -> Upload:
        """Begin to store files."""
        return Upload(self._writable(owner))

    def held(self, owner: Owner, path: str, upload_id: str) -> int:
        """Return how many bytes are held of an upload."""
        root = self._writable(owner)
        return root.staging.held(part_key(root, path, upload_id))

    def readable(self, owner: Owner) -> Root:
        """Return where the artifacts are read."""
        return self._root(self._location(owner))

    def download(
        self, owner: Owner, wanted: tuple[Parts, ...], offset: int, length: int | None
    ) -> Download:
        """Return what to send."""
        return Download(self.readable(owner), wanted, offset, length)

    def sweep(self, seconds: float) -> None:
        """Delete what has been staged for `seconds` and is not being written to."""
        self._stagings.sweep(seconds)

    def _writable(self, owner: Owner) -> Root:
        if owner.run_id:
            run = self._run(owner.run_id)
            if run.info.lifecycle_stage == LifecycleStage.DELETED:
                raise FailedPreconditionError(
                    "RUN_DELETED", f"The run {owner.run_id!r} is deleted.", {"name": owner.run_id}
                )
        elif not _parse(owner.model_uri).model_id:
            raise InvalidFieldError("model_uri", "is a registered version, which never changes")
        return self._root(self._location(owner))

    def _location(self, owner: Owner) -> str:
        if owner.run_id:
            return str(self._run(owner.run_id).info.artifact_uri)
        model_id = _parse(owner.model_uri).model_id
        if model_id:
            return self._model_location(model_id)
        version = registered_version(self._client, owner.model_uri)
        with absent("model version", owner.model_uri.removeprefix("models:/")):
            source = self._client.get_model_version_download_uri(version.name, version.version)
        if urlsplit(source).scheme == "models":
            return self._location(Owner(model_uri=source))
        return str(source)

    def _model_location(self, model_id: str) -> str:
        with absent("logged model", model_id):
            return str(self._client.get_logged_model(model_id).artifact_location)

    def _run(self, run_id: str) -> Run:
        with absent("run", run_id):
            return self._client.get_run(run_id)

    def _root(self, location: str) -> Root:
        place = place_of(location, self._places.destination)
        if _is_remote(place):
            staging = self._stagings.at(_remote_staging(self._places))
            return RemoteRoot(place, staging, self._places.tracking_uri)
        folder = folder_of(place)
        above = next((top for top in self._shared if top in folder.parents), folder.parent)
        return LocalRoot(folder, self._stagings.at(above / STAGING_NAME))


def _locations(places: Places) -> list[str]:
    uris = (places.destination, places.default_root)
    return [uri for uri in uris if uri and urlsplit(uri).scheme != "mlflow-artifacts"]


def _local_folders(places: Places) -> list[Path]:
    return [folder_of(uri) for uri in _locations(places) if not _is_remote(uri)]


def _is_remote(place: str) -> bool:
    return not is_local_uri(place)


def _remote_staging(places: Places) -> Path:
    return Path(places.staging or Path(tempfile.gettempdir(), "mlflow-grpc-staging")).absolute()


def _parse(model_uri: str) -> ParsedModelUri:
    parts = uri("model_uri", model_uri)
    if parts.scheme != "models" or parts.netloc:
        raise InvalidFieldError("model_uri", "is not of the form models:/...")
    try:
        return _parse_model_uri(model_uri)
    except Exception as error:  # MLflow's parser raises whatever it trips over.
        raise InvalidFieldError("model_uri", f"does not parse: {error}") from error
