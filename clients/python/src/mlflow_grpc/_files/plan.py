"""Which files go in which call."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

# A file of this size or more has a call of its own, which can be resumed.
LARGE_BYTES = 8 * 2**20
_BATCH_BYTES = 8 * 2**20
_BATCH_FILES = 500


class Sized(Protocol):
    """A file of known size."""

    @property
    def path(self) -> str:
        """Where it is among the artifacts."""

    @property
    def size(self) -> int:
        """In bytes."""


F = TypeVar("F", bound=Sized)


@dataclass(frozen=True)
class Source:
    """A file to send: a file of this machine, or its content."""

    path: str
    size: int
    content: Path | bytes

    def __post_init__(self) -> None:
        try:
            self.path.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the name {self.path!r} is no text that UTF-8 can hold") from error


@dataclass(frozen=True)
class Batch(Generic[F]):
    """The files of one call: a large one, or small ones."""

    files: list[F]
    upload_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def is_large(self) -> bool:
        """Whether it is one large file."""
        return self.files[0].size >= LARGE_BYTES


def batches(files: Iterable[F]) -> Iterator[Batch[F]]:
    """The files, large ones alone and small ones together."""
    small: list[F] = []
    size = 0
    for file in files:
        if file.size >= LARGE_BYTES:
            yield Batch([file])
            continue
        if small and (size + file.size > _BATCH_BYTES or len(small) >= _BATCH_FILES):
            yield Batch(small)
            small, size = [], 0
        small.append(file)
        size += file.size
    if small:
        yield Batch(small)


def source_of_file(local_path: str | os.PathLike[str], artifact_path: str | None) -> Source:
    """A file, to be stored under its own name in the folder `artifact_path`."""
    local = Path(local_path)
    if local.is_dir():
        raise IsADirectoryError(f"{local} is a folder: use log_artifacts")
    return _source(local, _join(artifact_path, local.name))


def source_of_content(content: bytes, artifact_file: str) -> Source:
    """Content, to be stored as the file `artifact_file`."""
    return Source(artifact_file, len(content), content)


def sources_in(local_dir: str | os.PathLike[str], artifact_path: str | None) -> list[Source]:
    """Every file in a folder and below it, by path. Links count as what they lead to.

    Raises `NotADirectoryError`, and `ValueError` for what is no file or a link that leads back.
    """
    folder = Path(local_dir)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    return list(_walk(str(folder), artifact_path or "", (os.path.realpath(folder),)))


def _walk(folder: str, inside: str, above: tuple[str, ...]) -> Iterator[Source]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = _join(inside, entry.name)
        if entry.is_dir():
            real = os.path.realpath(entry.path)
            if real in above:
                raise ValueError(f"{entry.path} is a link that leads back to {real}")
            yield from _walk(entry.path, path, (*above, real))
        elif entry.is_file():
            yield Source(path, entry.stat().st_size, Path(entry.path))
        else:
            yield _source(Path(entry.path), path)


def _source(local: Path, path: str) -> Source:
    size = local.stat().st_size
    if not local.is_file():
        raise ValueError(f"{local} is no regular file")
    return Source(path, size, local)


def _join(folder: str | None, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name
