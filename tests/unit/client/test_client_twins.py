"""The asyncio methods are the blocking ones, made by a recipe."""

from __future__ import annotations

import pytest

from tests.unit.client import twins


@pytest.mark.parametrize("name", twins.MODULES)
def test_twin_is_up_to_date(name: str) -> None:
    there = (twins.PACKAGE / "_aio" / name).read_text()
    assert there == twins.asyncio_twin(name), "run: python tests/unit/client/twins.py"


def test_every_twin_is_listed() -> None:
    by_hand = {
        "__init__.py",
        "active_run.py",
        "artifacts.py",
        "base.py",
        "client.py",
        "datasets.py",
        "run_artifacts.py",
        "streaming.py",
        "transfers.py",
    }
    for package in ("_sync", "_aio"):
        files = {path.name for path in (twins.PACKAGE / package).glob("*.py")}
        assert files == by_hand | set(twins.MODULES)
