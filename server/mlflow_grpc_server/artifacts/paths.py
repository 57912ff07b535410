"""Which paths may name an artifact."""

from __future__ import annotations

import re

from mlflow.exceptions import MlflowException
from mlflow.utils.uri import validate_path_is_safe

from mlflow_grpc_server.exceptions import InvalidFieldError

__all__ = ["Parts", "can_be_listed", "is_plain", "listed", "parse"]

Parts = tuple[str, ...]

_MOST_BYTES = 1024
_MOST_PART_BYTES = 255
_MOST_SHOWN = 100
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# MLflow's lists leave out names that begin so: its own files that are being written.
_MLFLOW_TEMPORARY = ".artifact.uploading."


def parse(path: str, field: str) -> Parts:
    """Return the parts of a path below the artifacts of a run or model.

    Raises InvalidFieldError, naming `field`, for a path that could mean another place than the
    one it spells, here, on another system, or to MLflow.
    """
    parts = tuple(path.split("/"))
    fault = _fault(path, parts)
    if fault:
        # The caller may have sent many, by the name of their folder.
        raise InvalidFieldError(field, f"{_short(path)!r} {fault}" if path else fault)
    return parts


def listed(path: str, field: str) -> Parts:
    """Return the parts of a path that a list may have given, whoever stored what is there.

    It is read as it is spelled, so that only what is no name at all is refused. Raises
    InvalidFieldError.
    """
    parts = tuple(path.split("/"))
    if not all(map(_is_name, parts)):
        fault = "has a part that is empty, '.' or '..', or a NUL"
        raise InvalidFieldError(field, f"{_short(path)!r} {fault}" if path else "is required")
    return parts


def can_be_listed(name: str) -> bool:
    """Return whether a list may show a name: `listed` takes it, and a message can carry it.

    MLflow's lists leave out its own files that are being written, and so do ours.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return _is_name(name) and not name.startswith(_MLFLOW_TEMPORARY)


def is_plain(path: str) -> bool:
    """Return whether MLflow takes a path as it is spelled."""
    try:
        return bool(validate_path_is_safe(path) == path)
    except (MlflowException, ValueError):
        return False


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and "\0" not in part


def _fault(path: str, parts: Parts) -> str | None:
    if not path:
        return "is required"
    if path.startswith("/") or _DRIVE.match(path):
        return "is absolute; paths are below the artifacts of the run or model"
    if _CONTROL.search(path):
        return "contains a control character"
    if "\\" in path:
        return "contains a backslash; the parts of a path are separated by '/'"
    if not {"", ".", ".."}.isdisjoint(parts):
        return "has a part that is empty, '.' or '..'"
    if len(path.encode()) > _MOST_BYTES:
        return f"is longer than {_MOST_BYTES:,} bytes"
    if any(len(part.encode()) > _MOST_PART_BYTES for part in parts):
        return f"has a part longer than {_MOST_PART_BYTES} bytes"
    if any(part.startswith(_MLFLOW_TEMPORARY) for part in parts):
        return f"has a part that starts with {_MLFLOW_TEMPORARY!r}, which MLflow hides"
    # MLflow's own client sends a path as it is, and what is behind a '?' is no path then.
    if "?" in path or not is_plain(path):
        return (
            "is one that MLflow takes for another: leave out '#', '?', '%' with digits behind it, "
            "and 'file:' or a space at the start"
        )
    return None


def _short(path: str) -> str:
    return path if len(path) <= _MOST_SHOWN else f"{path[:_MOST_SHOWN]}..."
