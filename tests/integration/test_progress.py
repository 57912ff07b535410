"""The progress bar, on a terminal and off it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Served

PROGRAM = """
import asyncio, os, sys
from mlflow_grpc import AsyncClient, Client

address, kind, progress, folder = sys.argv[1:]
progress = {"None": None, "True": True, "False": False}[progress]
if os.environ.get("WITHOUT_RICH"):
    sys.modules["rich"] = sys.modules["rich.console"] = None

def blocking():
    with Client(address) as client, client.start_run() as run:
        run.log_artifacts(folder, progress=progress)
        run.download_artifacts(dst_path=folder + "/out", progress=progress)

async def aio():
    async with AsyncClient(address) as client, client.start_run() as run:
        await run.log_artifacts(folder, progress=progress)
        await run.download_artifacts(dst_path=folder + "/out", progress=progress)

blocking() if kind == "sync" else asyncio.run(aio())
assert len(os.listdir(folder + "/out")) == len(os.listdir(folder)) - 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[int], Path]:
    def make(files: int) -> Path:
        made = tmp_path / f"{files} files"
        made.mkdir()
        for number in range(files):
            (made / f"{number}").write_text("x")
        return made

    return make


def shown(terminal: bool, *arguments: str, **variables: str) -> str:
    """What the program shows on stderr, which is a terminal or is not."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **variables}
    if not terminal:
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
        return done.stderr.decode()
    leader, follower = pty.openpty()
    with subprocess.Popen(
        command, env=environment, stdin=follower, stdout=subprocess.PIPE, stderr=follower
    ) as process:
        os.close(follower)
        read = b""
        try:
            while data := os.read(leader, 4096):
                read += data
        except OSError:
            # How Linux says that nobody has the terminal open any more.
            pass
        os.close(leader)
        assert process.stdout is not None
        assert process.stdout.read() == b""
    assert process.returncode == 0, read
    return read.decode()


@pytest.mark.parametrize("kind", ["sync", "aio"])
def test_much_has_a_bar_on_a_terminal(
    served: Served, folder: Callable[[int], Path], kind: str
) -> None:
    read = shown(True, served.address, kind, "None", str(folder(150)))
    assert "sending 150 files" in read
    assert "receiving 150 files" in read
    assert "150/150 bytes" in read
    # It is cleared when it is done.
    assert read.rstrip("\r\n").endswith("\x1b[2K")


@pytest.mark.parametrize(
    ("terminal", "progress", "files", "variables"),
    [
        (False, "None", 150, {}),
        (False, "True", 3, {}),
        (True, "False", 150, {}),
        (True, "None", 3, {}),
        (True, "None", 150, {"WITHOUT_RICH": "1"}),
    ],
    ids=["no terminal", "no terminal, but wanted", "not wanted", "little", "no rich"],
)
def test_nothing_is_shown(
    served: Served,
    folder: Callable[[int], Path],
    terminal: bool,
    progress: str,
    files: int,
    variables: dict[str, str],
) -> None:
    assert shown(terminal, served.address, "sync", progress, str(folder(files)), **variables) == ""


def test_a_bar_that_is_asked_for(served: Served, folder: Callable[[int], Path]) -> None:
    read = shown(True, served.address, "sync", "True", str(folder(3)))
    assert "sending 3 files" in read
