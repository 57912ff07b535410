"""What is swept, and what is not."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlflow_grpc_server.artifacts.staging import Staging
from mlflow_grpc_server.artifacts.stagings import Stagings
from mlflow_grpc_server.exceptions import ConcurrentUploadError, NoSpaceError


def test_what_is_being_written_is_never_swept(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "staging")
    created, descriptor = staging.create()
    part, locked = staging.resume("key", "p")
    with staging.beside() as folder:
        assert staging.sweep(-1) == 0
        assert created.exists()
        assert part.exists()
        assert folder.exists()
    with pytest.raises(ConcurrentUploadError):
        staging.resume("key", "p")
    os.write(locked, b"12345")
    os.close(descriptor)
    os.close(locked)
    assert staging.held("key") == 5
    # Time before this process does not count: who lost the server may come back.
    os.utime(part, (0, 0))
    assert Staging(tmp_path / "staging").sweep(60) == 0
    assert staging.sweep(-1) == 2
    assert staging.held("key") == 0
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_bounded_staging_is_full_before_the_disk(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "staging", most_bytes=100)
    staging.check_room("p", 100)
    path, descriptor = staging.create()
    os.write(descriptor, b"x" * 60)
    os.close(descriptor)
    with pytest.raises(NoSpaceError) as caught:
        staging.check_room("p", 41)
    assert caught.value.metadata == {"path": "p", "free_bytes": "40"}
    path.unlink()
    staging.check_room("p", 100)


@contextmanager
def before_the_next_lock(
    monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]
) -> Iterator[None]:
    """Between the next time that a file is opened and that it is locked, something happens."""
    flock = fcntl.flock
    left = [do]

    def locked(descriptor: int, operation: int) -> None:
        if left:
            left.pop()()
        flock(descriptor, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", locked)
        yield
    assert not left


def test_who_opens_a_part_that_is_finished_meanwhile_gets_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(tmp_path / "staging")
    part, first = staging.resume("key", "p")
    os.write(first, b"12345")

    def finish() -> None:
        part.rename(tmp_path / "visible")
        os.close(first)

    with before_the_next_lock(monkeypatch, finish):
        again, second = staging.resume("key", "p")
    os.write(second, b"67")
    assert (again, again.read_bytes()) == (part, b"67")
    assert (tmp_path / "visible").read_bytes() == b"12345"
    with pytest.raises(ConcurrentUploadError):
        staging.resume("key", "p")
    os.close(second)


def test_who_opens_a_part_that_is_swept_meanwhile_gets_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(tmp_path / "staging")
    part, descriptor = staging.resume("key", "p")
    os.close(descriptor)
    with before_the_next_lock(monkeypatch, part.unlink):
        _, descriptor = staging.resume("key", "p")
    os.write(descriptor, b"12345")
    assert staging.held("key") == 5
    os.close(descriptor)


def test_what_takes_the_place_of_what_is_swept_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(tmp_path / "staging")
    part, descriptor = staging.resume("key", "p")
    os.close(descriptor)

    def replace() -> None:
        part.unlink()
        part.write_bytes(b"12345")

    with before_the_next_lock(monkeypatch, replace):
        assert staging.sweep(-1) == 0
    assert staging.held("key") == 5


def test_what_is_written_to_just_before_it_is_swept_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = Staging(tmp_path / "staging")
    part, descriptor = staging.resume("key", "p")
    os.close(descriptor)
    os.utime(part, (0, 0))
    monkeypatch.setattr(staging, "_opened", 0)
    with before_the_next_lock(monkeypatch, lambda: os.utime(part)):
        assert staging.sweep(60) == 0
    assert part.exists()


def test_what_a_library_writes_beside_a_file_counts_and_is_swept(tmp_path: Path) -> None:
    staging = Staging(tmp_path, most_bytes=100)
    path, descriptor = staging.create()
    beside = path.with_name(f"{path.name}.6fA0b9Cd")
    beside.write_bytes(b"x" * 60)
    assert staging.free_bytes() == 40
    assert staging.sweep(-1) == 0
    os.close(descriptor)
    # First what has the lock; what comes behind it may go with it.
    assert staging.sweep(-1) + staging.sweep(-1) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_staging_that_cannot_be_swept_holds_up_no_other(tmp_path: Path) -> None:
    stagings = Stagings([tmp_path / "always"], {})
    (tmp_path / "file").touch()
    assert not stagings.at(tmp_path / "file").remove()
    staging = stagings.at(tmp_path / "other")
    _, descriptor = staging.create()
    os.close(descriptor)
    # Another replica, or a later server, knows of both by their markers.
    Stagings([tmp_path / "always"], {}).sweep(-1)
    assert not staging.folder.exists()
    (marker,) = (tmp_path / "always").iterdir()
    assert marker.read_bytes() == bytes(tmp_path / "file")


def test_what_cannot_be_deleted_does_not_keep_the_rest(tmp_path: Path) -> None:
    staging = Staging(tmp_path / "staging")
    for _ in range(8):
        _, descriptor = staging.create()
        os.close(descriptor)
    (tmp_path / "staging" / f"{'0' * 32}.tmp").symlink_to("nowhere")
    assert staging.sweep(-1) == 8
    assert len(list((tmp_path / "staging").iterdir())) == 1


def test_a_disk_that_is_away_is_not_forgotten(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    staging = Staging(tmp_path / "disk" / "staging", marker=marker)
    _, descriptor = staging.create()
    os.close(descriptor)
    assert marker.exists()
    (tmp_path / "disk").rename(tmp_path / "away")
    assert not staging.remove()
    assert marker.exists()
    (tmp_path / "away").rename(tmp_path / "disk")
    assert staging.sweep(-1) == 1
    assert staging.remove()
    assert not marker.exists()
