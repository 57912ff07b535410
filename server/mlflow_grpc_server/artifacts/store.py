"""Finds the artifacts of runs and models."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.lifecycle_stage import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.utils.models import (
    ParsedModelUri,
    _parse_model_uri,
    get_model_name_and_version,
)
from mlflow.utils.uri import is_local_uri

from mlflow_grpc_server.artifacts.downloads import Download
from mlflow_grpc_server.artifacts.entries import Entry, Root
from mlflow_grpc_server.artifacts.local import LocalRoot
from mlflow_grpc_server.artifacts.locations import folder_of, place_of
from mlflow_grpc_server.artifacts.paths import Parts
from mlflow_grpc_server.artifacts.remote import RemoteRoot
from mlflow_grpc_server.artifacts.staging import STAGING_NAME, Staging
from mlflow_grpc_server.artifacts.uploads import Upload, part_key
from mlflow_grpc_server.exceptions import (
    FailedPreconditionError,
    InvalidFieldError,
    NotFoundError,
)
from mlflow_grpc_server.tracking.refusals import NOT_FOUND_CODES, REFUSED_CODES

__all__ = ["Artifacts", "Owner", "Places"]

_logger = logging.getLogger(__name__)


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
        self._lock = threading.Lock()
        self._stagings: dict[Path, Staging] = {}
        # What a server before this one left there is swept, whether or not it is used again.
        self._kept = {folder / STAGING_NAME for folder in self._shared}
        for folder in self._kept:
            self._staging(folder)
        if places.staging or any(not is_local_uri(uri) for uri in _locations(places)):
            self._kept.add(_remote_staging(places))
            self._staging(_remote_staging(places), places.staging_bytes)

    def upload(self, owner: Owner) -> Upload:
        """Begin to store files."""
        return Upload(self._writable(owner))

    def held(self, owner: Owner, path: str, upload_id: str) -> int:
        """Return how many bytes are held of an upload."""
        root = self._writable(owner)
        return root.staging.held(part_key(root, path, upload_id))

    def entries(
        self, owner: Owner, parts: Parts, *, recursive: bool, after: Parts, limit: int
    ) -> list[Entry]:
        """Return up to `limit` entries by path, from behind `after`."""
        root = self._root(self._location(owner))
        if parts and not root.entry(parts).is_dir:
            return [root.entry(parts)]
        return list(islice(root.walk(parts, recursive=recursive, after=after), limit))

    def download(
        self, owner: Owner, wanted: tuple[Parts, ...], offset: int, length: int | None
    ) -> Download:
        """Return what to send."""
        return Download(self._root(self._location(owner)), wanted, offset, length)

    def sweep(self, seconds: float) -> None:
        """Delete what has been staged for `seconds` and is not being written to."""
        with self._lock:
            stagings = list(self._stagings.values())
        for staging in stagings:
            deleted = staging.sweep(seconds)
            if deleted:
                _logger.info("deleted %d unfinished uploads", deleted)
            # Runs of experiments with a location of their own have a staging each.
            if staging.folder not in self._kept and staging.remove():
                with self._lock:
                    self._stagings.pop(staging.folder, None)

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
        with _absent("model version", owner.model_uri.removeprefix("models:/")):
            name, version = get_model_name_and_version(self._client, owner.model_uri)
            source = self._client.get_model_version_download_uri(name, version)
        if urlsplit(source).scheme == "models":
            return self._location(Owner(model_uri=source))
        return str(source)

    def _model_location(self, model_id: str) -> str:
        with _absent("logged model", model_id):
            return str(self._client.get_logged_model(model_id).artifact_location)

    def _run(self, run_id: str) -> Run:
        with _absent("run", run_id):
            return self._client.get_run(run_id)

    def _root(self, location: str) -> Root:
        place = place_of(location, self._places.destination)
        if not is_local_uri(place):
            staging = self._staging(_remote_staging(self._places), self._places.staging_bytes)
            return RemoteRoot(place, staging, self._places.tracking_uri)
        folder = folder_of(place)
        above = next((top for top in self._shared if top in folder.parents), folder.parent)
        return LocalRoot(folder, self._staging(above / STAGING_NAME))

    def _staging(self, folder: Path, most_bytes: int | None = None) -> Staging:
        with self._lock:
            return self._stagings.setdefault(folder, Staging(folder, most_bytes))


def _locations(places: Places) -> list[str]:
    uris = (places.destination, places.default_root)
    return [uri for uri in uris if uri and urlsplit(uri).scheme != "mlflow-artifacts"]


def _local_folders(places: Places) -> list[Path]:
    return [folder_of(uri) for uri in _locations(places) if is_local_uri(uri)]


def _remote_staging(places: Places) -> Path:
    return Path(places.staging or Path(tempfile.gettempdir(), "mlflow-grpc-staging")).absolute()


def _parse(model_uri: str) -> ParsedModelUri:
    if urlsplit(model_uri).scheme != "models" or urlsplit(model_uri).netloc:
        raise InvalidFieldError("model_uri", "is not of the form models:/...")
    try:
        return _parse_model_uri(model_uri)
    except Exception as error:  # MLflow's parser raises whatever it trips over.
        raise InvalidFieldError("model_uri", f"does not parse: {error}") from error


@contextmanager
def _absent(kind: str, name: str) -> Iterator[None]:
    """Turn MLflow's words for an absent thing into NotFoundError; the name itself was checked."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in (*NOT_FOUND_CODES, *REFUSED_CODES):
            raise
        raise NotFoundError(kind, name) from error
