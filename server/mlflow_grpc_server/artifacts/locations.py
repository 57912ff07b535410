"""From the location that MLflow has for artifacts to the place where they are."""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from mlflow_grpc_server.exceptions import FailedPreconditionError

__all__ = ["folder_of", "place_of"]

# Whoever may register a model could have the server call hosts that only the server reaches.
_ANY_HOST = ("http", "https", "ftp", "sftp")


def place_of(location: str, destination: str | None) -> str:
    """Return the URI or folder of a location.

    `destination` is what `mlflow-artifacts:/` stands for, None where an MLflow server behind
    this one resolves it. Raises FailedPreconditionError for a place that is not this server's.
    """
    parts = urlsplit(location)
    if parts.scheme == "mlflow-artifacts" and destination:
        return _below(destination, parts.path)
    if parts.scheme in _ANY_HOST or (parts.scheme == "mlflow-artifacts" and parts.netloc):
        raise FailedPreconditionError(
            "LOCATION_NOT_SERVED",
            f"The artifacts are at a {parts.scheme} address, where this server does not go.",
            {"scheme": parts.scheme},
        )
    return location


def folder_of(place: str) -> Path:
    """Return the folder that a path or `file:` URI of this machine means."""
    local = urlsplit(place).scheme == "file"
    return Path(local_file_uri_to_path(place) if local else place).resolve()


def _below(destination: str, path: str) -> str:
    """Return the place below the destination that the path of a location means."""
    parts = [part for part in path.split("/") if part]
    if ".." in parts or ".." in unquote(path).split("/"):
        raise FailedPreconditionError(
            "LOCATION_OUT_OF_BOUNDS", "The location of the artifacts leads out of the destination."
        )
    if is_local_uri(destination):
        return str(folder_of(destination).joinpath(*parts))
    base = urlsplit(destination)
    return base._replace(path=posixpath.join(base.path, *parts)).geturl()
