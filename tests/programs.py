"""Programs that some tests need and that pip cannot install."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["find_program"]


def find_program(name: str, package: str, *places: str) -> str:
    """Return the path of a program, from PATH or the folders that match the globs `places`.

    Without it the test is skipped, unless TEST_DATABASES=required, as in .ci/run.
    """
    found = shutil.which(name)
    if found:
        return found
    for place in places:
        for folder in sorted(Path("/").glob(place.lstrip("/")), reverse=True):
            if (folder / name).is_file():
                return str(folder / name)
    missing = f"{name} is not installed; it comes with {package}"
    assert os.environ.get("TEST_DATABASES") != "required", missing
    pytest.skip(missing)
