"""What is at a path, and what moves: the values that the parts of this package share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from mlflow_grpc_server.artifacts.paths import Parts
from mlflow_grpc_server.artifacts.staging import Staging
from mlflow_grpc_server.exceptions import NotFoundError

__all__ = ["Chunk", "Entry", "Root", "Stored", "Writer", "page_of", "walk"]


@dataclass(frozen=True)
class Entry:
    """A file or folder; its size in bytes."""

    parts: Parts
    is_dir: bool
    size: int

    @property
    def path(self) -> str:
        """The path below the artifacts of the run or model."""
        return "/".join(self.parts)


@dataclass(frozen=True)
class Stored:
    """A file that was stored; its size in bytes and its SHA-256 in hexadecimal digits."""

    path: str
    size: int
    sha256: str


class Chunk(Protocol):
    """Some bytes of a file, as the message of that name has them."""

    path: str
    size: int
    offset: int
    data: bytes
    sha256: str
    upload_id: str


class Writer(Protocol):
    """Where whole files go."""

    def commit(self, staged: Path, parts: Parts) -> None:
        """Make a staged file visible at its path; the staged one is gone then."""

    def close(self) -> None:
        """Let go of what is open."""


class Root(Protocol):
    """The artifacts of one run or model.

    What reads them also raises ArtifactStoreError and UnreadableArtifactError.
    """

    staging: Staging
    key: str
    """What tells it from every other."""

    def writer(self) -> Writer:
        """Return a place for whole files."""

    def open(self, parts: Parts) -> int:
        """Return a descriptor of a file. Raises NotFoundError."""

    def entry(self, parts: Parts) -> Entry:
        """Return what is at a path, a file if it is both. Raises NotFoundError."""

    def walk(self, parts: Parts, *, recursive: bool, after: Parts = ()) -> Iterator[Entry]:
        """Yield what is in a folder, by path, from behind `after`. Raises NotFoundError."""


Lister = Callable[[Parts, str], Iterable[Entry]]
"""Lists a folder in order. What is before a name may be left out."""


def walk(parts: Parts, entries: Lister, *, recursive: bool, after: Parts) -> Iterator[Entry]:
    """Yield what is in a folder, by path, from behind `after`.

    Folders may be in folders deeper than functions may call each other.
    """

    def listed(folder: Parts) -> Iterator[Entry]:
        depth = len(folder)
        is_before = folder == after[:depth] and depth < len(after)
        return iter(entries(folder, after[depth] if is_before else ""))

    levels = [listed(parts)]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            continue
        if entry.parts > after:
            yield entry
        if entry.is_dir and recursive and entry.parts >= after[: len(entry.parts)]:
            # It may be gone since.
            with suppress(NotFoundError):
                levels.append(listed(entry.parts))


def page_of(root: Root, parts: Parts, *, recursive: bool, after: Parts, limit: int) -> list[Entry]:
    """Return up to `limit` entries by path, from behind `after`. Of a file that is the file."""
    if parts and not (found := root.entry(parts)).is_dir:
        return [found]
    return list(islice(root.walk(parts, recursive=recursive, after=after), limit))
