"""From a model's URI to its files on this machine. Every method blocks."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.uri import is_local_uri

from mlflow_grpc_server.artifacts.locations import folder_of, place_of
from mlflow_grpc_server.convert import fields
from mlflow_grpc_server.exceptions import InvalidFieldError
from mlflow_grpc_server.serving.replica import LoadError
from mlflow_grpc_server.tracking.refusals import not_found
from mlflow_grpc_server.tracking.sources import Sources

__all__ = ["Models", "is_followed"]

_FIXED = re.compile(r"runs:/.*|models:/m-[^/@]*|models:/.*/[0-9]+")
_MOST_STEPS = 5
_UNUSED = ".unused-"


def is_followed(uri: str) -> bool:
    """Tell whether what a model URI means can change: an alias, a stage or `latest`."""
    return not _FIXED.fullmatch(uri)


class Models:
    """Resolves models through the registry, and brings their files to `folder`.

    Files that are on this machine already are used where they are.
    """

    def __init__(self, client: MlflowClient, artifacts_destination: str | None, folder: Path):
        self._client = client
        self._sources = Sources(client)
        self._destination = artifacts_destination
        self._folder = folder

    def resolve(self, uri: str, field: str = "model_uri") -> str:
        """Return what a URI means now: a version, a logged model or a path of a run.

        Raises NotFoundError for what does not exist and InvalidFieldError, naming `field`.
        """
        if fields.uri(field, uri).scheme not in ("models", "runs"):
            raise InvalidFieldError(field, f"{uri!r} is neither models:/... nor runs:/...")
        try:
            source = self._sources.resolve(uri, None, None)
        except InvalidFieldError as error:
            raise InvalidFieldError(field, error.message.partition(": ")[2]) from error
        return source.uri if urlsplit(source.uri).scheme == "models" else uri

    def fetch(self, resolved_uri: str) -> Path:
        """Return the folder of a model's files. Raises LoadError if there are none."""
        place = self._locate(resolved_uri)
        if is_local_uri(place):
            path = folder_of(place)
        else:
            path = self._folder / hashlib.sha256(place.encode()).hexdigest()[:32]
            if not path.exists():
                self._download(place, path)
        if not (path / "MLmodel").is_file():
            raise LoadError(f"{resolved_uri} has no files: there is no MLmodel where it should be")
        return path

    def set_aside(self, used: Collection[Path]) -> list[Path]:
        """Take away, without waiting, what was brought here and is not used; to be deleted."""
        aside = []
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.name.startswith(_UNUSED):
                aside.append(path)
            elif path not in used:
                aside.append(path.rename(path.with_name(_UNUSED + uuid.uuid4().hex)))
        return aside

    def delete(self, paths: Iterable[Path]) -> None:
        """Delete what was set aside."""
        for path in paths:
            shutil.rmtree(path, ignore_errors=True)

    def _locate(self, uri: str) -> str:
        """Return where the files are, by as many steps as the registry takes."""
        for _ in range(_MOST_STEPS):
            scheme = urlsplit(uri).scheme
            if scheme not in ("models", "runs"):
                return place_of(uri, self._destination)
            uri = self._step(self._sources.resolve(uri, None, None).uri)
        raise LoadError("the source of the model leads in circles")

    def _step(self, uri: str) -> str:
        if urlsplit(uri).scheme != "models":
            return uri
        name = uri.removeprefix("models:/")
        if "/" not in name:
            with not_found("logged model", name):
                return str(self._client.get_logged_model(name).artifact_location)
        name, _, version = name.rpartition("/")
        with not_found("model version", f"{name}/{version}"):
            return str(self._client.get_model_version_download_uri(name, version))

    def _download(self, place: str, path: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".part-") as part:
            whole = Path(part) / "model"
            whole.mkdir()
            repository = get_artifact_repository(place, tracking_uri=self._client.tracking_uri)
            repository.download_artifacts("", str(whole))
            try:
                whole.rename(path)
            except OSError:
                # Another deployment of the same model was quicker.
                if not path.is_dir():
                    raise
