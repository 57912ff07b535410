"""Artifacts in a store that MLflow has an artifact repository for, such as S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_grpc_server.artifacts.entries import Entry, walk
from mlflow_grpc_server.artifacts.paths import Parts, can_be_listed, is_plain
from mlflow_grpc_server.artifacts.staging import Staging
from mlflow_grpc_server.exceptions import ArtifactStoreError, NotFoundError, RequestError

__all__ = ["RemoteRoot"]

# Stores that take every path as it is spelled. MLflow's own server decodes it first.
_LITERAL = ("s3",)


class RemoteRoot:
    """The artifacts of one run or model below a URI. Files pass whole through the staging.

    Made for one call, and used by one thread at a time.
    """

    def __init__(self, uri: str, staging: Staging, tracking_uri: str) -> None:
        self.staging = staging
        self.key = uri
        self._is_literal = urlsplit(uri).scheme in _LITERAL
        # A store is asked once for a folder whose files are read one after the other.
        self._listed: tuple[Parts, list[Entry]] | None = None
        with _store_errors():
            self._repository: ArtifactRepository = get_artifact_repository(
                uri, tracking_uri=tracking_uri
            )

    def writer(self) -> RemoteWriter:
        """Return a place for whole files."""
        return RemoteWriter(self._repository, self.staging)

    def open(self, parts: Parts) -> int:
        """Return a descriptor of a copy of a file. Raises NotFoundError."""
        entry = self.entry(parts)
        if entry.is_dir:
            raise NotFoundError("artifact file", entry.path)
        self.staging.check_room(entry.path, entry.size)
        staged, descriptor = self.staging.create()
        try:
            with _store_errors():
                self._repository._download_file(entry.path, str(staged))
            copy = os.open(staged, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            # The descriptor keeps the copy for as long as it is read.
            os.close(descriptor)
            staged.unlink(missing_ok=True)
        return copy

    def entry(self, parts: Parts) -> Entry:
        """Return what is at a path. Raises NotFoundError."""
        if not parts:
            return Entry((), True, 0)
        path = "/".join(parts)
        if self._is_literal or is_plain(path):
            found = [entry for entry in self._list(parts[:-1]) if entry.parts == parts]
            if found:
                return min(found, key=lambda entry: entry.is_dir)
        raise NotFoundError("artifact", path)

    def walk(self, parts: Parts, *, recursive: bool, after: Parts = ()) -> Iterator[Entry]:
        """Yield what is in a folder, by path, from behind `after`."""
        if parts and not self.entry(parts).is_dir:
            raise NotFoundError("artifact folder", "/".join(parts))
        return walk(parts, lambda folder, _: self._list(folder), recursive=recursive, after=after)

    def _list(self, parts: Parts) -> list[Entry]:
        if self._listed is None or self._listed[0] != parts:
            with _store_errors():
                found = self._repository.list_artifacts("/".join(parts) or None)
            entries = sorted(map(_entry, found), key=lambda entry: entry.parts)
            self._listed = (parts, [one for one in entries if self._is_in(one, parts)])
        return self._listed[1]

    def _is_in(self, entry: Entry, folder: Parts) -> bool:
        """Whether an entry is read by its path. That of a key with `//` or `..` is another's."""
        is_child = entry.parts[:-1] == folder and can_be_listed(entry.parts[-1])
        return is_child and (self._is_literal or is_plain(entry.path))


class RemoteWriter:
    """Sends whole files to the store."""

    def __init__(self, repository: ArtifactRepository, staging: Staging) -> None:
        self._repository = repository
        self._staging = staging

    def commit(self, staged: Path, parts: Parts) -> None:
        """Send a staged file to its place; stores show it when it is whole."""
        # The repository names the file after the one that it is given.
        with self._staging.beside() as folder:
            named = folder / parts[-1]
            os.link(staged, named)
            with _store_errors():
                self._repository.log_artifact(str(named), "/".join(parts[:-1]) or None)
        staged.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is held."""


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn whatever a store's library raises into ArtifactStoreError."""
    try:
        yield
    except (RequestError, MlflowException):
        raise
    except Exception as error:
        raise ArtifactStoreError from error


def _entry(info: FileInfo) -> Entry:
    return Entry(tuple(info.path.split("/")), bool(info.is_dir), int(info.file_size or 0))
