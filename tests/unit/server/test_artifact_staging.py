"""What is swept, and what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlflow_grpc_server.artifacts.staging import Staging
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
