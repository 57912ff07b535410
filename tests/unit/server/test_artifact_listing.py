"""Lists of folders: whole, or a failure, whatever the system says while they are made."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlflow_grpc_server.artifacts.downloads import Download
from mlflow_grpc_server.artifacts.entries import page_of
from mlflow_grpc_server.artifacts.local import LocalRoot
from mlflow_grpc_server.exceptions import (
    ArtifactStoreError,
    NotFoundError,
    UnreadableArtifactError,
)
from tests.unit.server.test_artifact_paths import download, make_root, upload


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    return make_root(tmp_path)


@contextmanager
def without_rights() -> Iterator[None]:
    """Root is bound by no permissions, but may be another user for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user may look into."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_what_may_not_be_read_is_not_left_out(open_folder: Path) -> None:
    root = make_root(open_folder)
    for path in ("a/f", "b/f", "c/f", "file"):
        upload(root, path, b"1")
    closed = open_folder / "run" / "artifacts" / "b"
    (open_folder / "run" / "artifacts" / "file").chmod(0)
    closed.chmod(0)
    try:
        with without_rights():
            listed = [entry.path for entry in root.walk((), recursive=False)]
            assert listed == ["a", "b", "c", "file"]
            reading: list[tuple[str, Callable[[], object]]] = [
                ("b", lambda: list(root.walk((), recursive=True))),
                ("b", lambda: list(root.walk(("b",), recursive=False))),
                ("b", lambda: list(Download(root, ()).messages())),
                ("b/f", lambda: root.entry(("b", "f"))),
                ("b/f", lambda: root.open(("b", "f"))),
                ("file", lambda: download(root, "file")),
            ]
            for path, reads in reading:
                with pytest.raises(UnreadableArtifactError) as told:
                    reads()
                assert told.value.metadata == {"path": path}
                assert str(open_folder) not in told.value.message
            with pytest.raises(NotFoundError):
                root.entry(("absent", "f"))
        (open_folder / "run").chmod(0)
        with without_rights(), pytest.raises(UnreadableArtifactError):
            list(root.walk((), recursive=False))
    finally:
        (open_folder / "run").chmod(0o755)
        closed.chmod(0o755)


def test_without_descriptors_nothing_is_left_out(root: LocalRoot) -> None:
    upload(root, "a/f", b"1")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    failures = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))
    try:
        for reads in (lambda: list(root.walk((), recursive=True)), lambda: root.open(("a", "f"))):
            try:
                reads()
            except ArtifactStoreError as error:
                failures.append(error)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(failures) == 2


def test_what_is_gone_while_it_is_listed_is_left_out(root: LocalRoot, tmp_path: Path) -> None:
    for number in range(150):
        upload(root, f"folder/{number:03}", b"")
    upload(root, "last", b"")
    walk = root.walk((), recursive=True)
    assert [next(walk).path for _ in range(2)] == ["folder", "folder/000"]
    folder = tmp_path / "run" / "artifacts" / "folder"
    (folder / "149").unlink()
    (folder / "148").unlink()
    (folder / "148").symlink_to(tmp_path)
    seen = [entry.path for entry in walk]
    assert seen == [*(f"folder/{number:03}" for number in range(1, 148)), "last"]
    walk = root.walk((), recursive=True)
    next(walk), next(walk)
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path)
    assert [entry.path for entry in walk][-1] == "last"


def test_a_page_looks_at_little_more_than_it_gives(
    root: LocalRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run" / "artifacts" / "many"
    folder.mkdir(parents=True)
    for number in range(1000):
        (folder / f"{number:03}").touch()
    looked_at = []
    stat = os.stat

    def counted(path: Any, **options: Any) -> os.stat_result:
        looked_at.append(path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", counted)
    after = ("many", "499")
    found = page_of(root, ("many",), recursive=False, after=after, limit=5)
    assert [entry.path for entry in found] == [f"many/{number}" for number in range(500, 505)]
    assert len(looked_at) < 200
