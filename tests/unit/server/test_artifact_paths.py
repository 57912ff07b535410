"""Paths: each is stored faithfully or refused, and nothing is ever outside the run's folder."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from mlflow_grpc.v1.artifacts_pb2 import ArtifactChunk
from mlflow_grpc_server.artifacts import paths
from mlflow_grpc_server.artifacts.downloads import Download
from mlflow_grpc_server.artifacts.entries import page_of
from mlflow_grpc_server.artifacts.local import LocalRoot
from mlflow_grpc_server.artifacts.staging import Staging
from mlflow_grpc_server.artifacts.uploads import Upload
from mlflow_grpc_server.exceptions import (
    FailedPreconditionError,
    InvalidFieldError,
    NotFoundError,
)

REFUSED = [
    "..",
    "../x",
    "a/../../x",
    "a/..",
    ".",
    "a/./b",
    "/etc/passwd",
    "//x",
    "a//b",
    "a/",
    "C:x",
    "c:/x",
    "C:\\x",
    "a\\b",
    "..\\x",
    "a\0b",
    "a\nb",
    "%2e%2e/x",
    "%2E%2E%2Fx",
    "a%2fb",
    "%252e%252e/x",
    "a%20b",
    " a",
    "a:b",
    "file:/etc/passwd",
    "a#b",
    "a?b",
    "?/b",
    "x" * 256,
    "x" * 1000,
    "/".join(["x" * 200] * 6),
    "ü" * 128,
    ".artifact.uploading.x",
]
# The names that others store and this server does not: a list gives them, and they are read.
ODD = [
    "a#b",
    "%41",
    "%2e%2e",
    "a%2fb",
    "a\\b",
    "..\\x",
    "C:\\x",
    "c:",
    "a\nb",
    "\x01",
    "\x7f",
    "\x1b[31m",
    " lead",
    "trail ",
    "dot.",
    "file:x",
    "a?b;c",
    "aux",
    "~",
    "\u202etxt.exe",
    "...",
]
STORED = [
    "a",
    "a/b/c.txt",
    "..a",
    "a..b/c",
    "...",
    ".hidden",
    "in side",
    "100%",
    "ab:c",
    "~",
    "-rf",
    "$HOME",
    "*",
    "CON",
    "nul.txt",
    "com1",
    "aux.py",
    "trailing.",
    "x" * 255,
    "ü" * 127,
    # MLflow's server takes a folder `x` with one file `x` for the file.
    "/".join(letter * 199 for letter in "vwxyz"),
    unicodedata.normalize("NFC", "é/ö"),
    unicodedata.normalize("NFD", "é/ö"),
    "\u202etxt.exe",
    "日本/語",
    "\U0001f600",
]

# Pieces that paths go wrong with, and any text.
pieces = st.one_of(
    st.sampled_from(
        ["..", ".", "", "a", "b", "link", "out", "%2e%2e", "%2f", "\\", "\0", "C:", "~", "#", "?",
         ";", "é", "e\u0301", "CON", "x" * 255, "x" * 256, ".artifact.uploading.", "\x7f", " "]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)  # fmt: skip
any_path = st.lists(pieces, min_size=1, max_size=5).map("/".join)


def upload(root: LocalRoot, path: str, data: bytes, size: int | None = None) -> None:
    """Log a file as a call does: whole, or in chunks of `size`."""
    digest = hashlib.sha256(data).hexdigest()
    made = Upload(root)
    try:
        if size is None:
            made.feed([ArtifactChunk(path=path, size=len(data), data=data, sha256=digest)])
        else:
            made.feed([ArtifactChunk(path=path, size=len(data))])
            for at in range(0, len(data), size):
                made.feed([ArtifactChunk(data=data[at : at + size])])
            made.feed([ArtifactChunk(sha256=digest)])
        made.finish()
    finally:
        made.close()


def download(root: LocalRoot, path: str) -> bytes:
    wanted = (paths.listed(path, "path"),)
    return b"".join(
        piece.data for message in Download(root, wanted).messages() for piece in message
    )


@pytest.fixture
def root(tmp_path: Path) -> LocalRoot:
    return make_root(tmp_path)


def make_root(folder: Path) -> LocalRoot:
    return LocalRoot(folder / "run" / "artifacts", Staging(folder / ".staging"))


def outside(folder: Path) -> dict[str, bytes | None]:
    """Everything that is not in the run's folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.is_relative_to(folder / "run" / "artifacts")
    }


@pytest.mark.parametrize("path", REFUSED)
def test_refused(root: LocalRoot, tmp_path: Path, path: str) -> None:
    for size in (None, 2):
        with pytest.raises(InvalidFieldError) as caught:
            upload(root, path, b"data", size)
        assert caught.value.fields == ("chunks[0].path",)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", STORED)
def test_stored_as_it_is_and_opened_by_mlflow(root: LocalRoot, tmp_path: Path, path: str) -> None:
    for size in (None, 2):
        upload(root, path, b"data", size)
        assert download(root, path) == b"data"
    entries = list(root.walk((), recursive=True))
    assert [entry.path for entry in entries if not entry.is_dir] == [path]
    assert os.fsencode(path) == os.fsencode(
        str(next(p for p in (tmp_path / "run/artifacts").rglob("*") if p.is_file()).relative_to(
            tmp_path / "run/artifacts"
        ))
    )  # fmt: skip
    theirs = LocalArtifactRepository(str(tmp_path / "run/artifacts"))
    parent = path.rpartition("/")[0]
    assert [info.path for info in theirs.list_artifacts(parent or None)] == [path]
    assert Path(theirs.download_artifacts(path)).read_bytes() == b"data"
    assert list((tmp_path / ".staging").iterdir()) == []


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=any_path, chunked=st.booleans())
def test_any_path(tmp_path_factory: pytest.TempPathFactory, path: str, chunked: bool) -> None:
    folder = tmp_path_factory.mktemp("any")
    run = folder / "run" / "artifacts"
    run.mkdir(parents=True)
    (folder / "out").mkdir()
    (folder / "out" / "secret").write_bytes(b"secret")
    for name in ("link", "a"):
        (run / name).symlink_to(folder / "out")
    (run / "b").symlink_to(folder / "out" / "secret")
    root = make_root(folder)
    before = outside(folder)
    try:
        upload(root, path, b"data", 2 if chunked else None)
    except (InvalidFieldError, FailedPreconditionError):
        with pytest.raises((InvalidFieldError, NotFoundError)):
            download(root, path)
    else:
        assert download(root, path) == b"data"
        assert [e.path for e in root.walk((), recursive=True) if not e.is_dir] == [path]
    after = outside(folder)
    after.pop(".staging", None)
    assert after == before


def store_odd_names(run: Path) -> dict[str, bytes]:
    """Store files and folders of odd names as another tool does; what they hold."""
    files = {name: name.encode() for name in ODD}
    files |= {f"folder-{name}/{name}": name.encode() for name in ODD}
    for path, data in files.items():
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        (run / path).write_bytes(data)
    return files


def test_what_is_listed_is_read_by_the_path_listed(root: LocalRoot, tmp_path: Path) -> None:
    run = tmp_path / "run" / "artifacts"
    files = store_odd_names(run)
    listed = [entry.path for entry in root.walk((), recursive=True) if not entry.is_dir]
    assert set(listed) == set(files)
    assert {path: download(root, path) for path in listed} == files
    whole = [piece for message in Download(root, ()).messages() for piece in message]
    assert {piece.path: piece.data for piece in whole} == files
    # To store is as strict as ever.
    for path in ("a#b", "%41", "a\\b", "a\nb"):
        with pytest.raises(InvalidFieldError):
            upload(root, path, b"new")


@pytest.mark.parametrize("path", ["", "/", "..", "../x", "a/..", ".", "a/./b", "//x", "a/", "a\0b"])
def test_what_no_list_gives_is_not_read(path: str) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        paths.listed(path, "path")
    assert caught.value.fields == ("path",)


def test_folders_in_folders_in_folders(root: LocalRoot, tmp_path: Path) -> None:
    """More than Python goes into itself; each is made from the one above, as no path is as long."""
    here = tmp_path / "run" / "artifacts"
    here.mkdir(parents=True)
    top = os.open(here, os.O_RDONLY)
    folder = os.dup(top)
    depth = 1500
    for _ in range(depth):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    entries = list(root.walk((), recursive=True))
    assert [len(entry.parts) for entry in entries] == [*range(1, depth + 1), depth + 1]
    assert download(root, entries[-1].path) == b""
    # pytest's own tidying would give up.
    os.unlink("file", dir_fd=folder)
    while not os.path.sameopenfile(folder, top):
        above = os.open("..", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = above
        os.rmdir("d", dir_fd=folder)
    os.close(folder)
    os.close(top)


def test_what_mlflow_is_writing_is_not_listed(root: LocalRoot, tmp_path: Path) -> None:
    run = tmp_path / "run" / "artifacts"
    upload(root, "whole", b"1")
    (run / ".artifact.uploading.half").write_bytes(b"2")
    assert [entry.path for entry in root.walk((), recursive=True)] == ["whole"]


def test_links_are_not_followed(root: LocalRoot, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret").write_bytes(b"secret")
    upload(root, "real", b"1")
    run = tmp_path / "run" / "artifacts"
    (run / "folder").symlink_to(tmp_path / "out")
    (run / "file").symlink_to(tmp_path / "out" / "secret")
    os.mkfifo(run / "pipe")
    assert [entry.path for entry in root.walk((), recursive=True)] == ["real"]
    for path in ("folder/secret", "file", "pipe"):
        with pytest.raises(NotFoundError):
            download(root, path)
    with pytest.raises(FailedPreconditionError):
        upload(root, "folder/new", b"2")
    upload(root, "file", b"2")
    assert (run / "file").read_bytes() == b"2"
    assert not (run / "file").is_symlink()
    assert (tmp_path / "out" / "secret").read_bytes() == b"secret"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["secret"]


@given(names=st.sets(st.text("ab/", min_size=1, max_size=6), max_size=12), page=st.integers(1, 5))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_walk_goes_on_anywhere(
    tmp_path_factory: pytest.TempPathFactory, names: set[str], page: int
) -> None:
    root = make_root(tmp_path_factory.mktemp("walk"))
    for name in names:
        try:
            upload(root, name, b"")
        except (InvalidFieldError, FailedPreconditionError):
            continue
    everything = list(root.walk((), recursive=True))
    assert [entry.parts for entry in everything] == sorted(entry.parts for entry in everything)
    paged = []
    after: tuple[str, ...] = ()
    while found := page_of(root, (), recursive=True, after=after, limit=page):
        paged += found
        after = found[-1].parts
    assert paged == everything
