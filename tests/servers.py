"""Server processes, started and ended by the tests."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.databases import sqlite_uri

__all__ = ["ServerProcess", "free_port"]

_LISTENING = re.compile(r"listening on (\S+:\d+)")


def free_port() -> int:
    """Return a port that the kernel says is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """`mlflow-grpc-server` as its own process in `folder`, on a port of the kernel's choice.

    Its database, unless it is told of another, has MLflow's tables already.

    What it logs goes to the file `log` in the folder; `address` is host:port.
    """

    def __init__(self, folder: Path, *arguments: str, port: int = 0) -> None:
        self.log = folder / "log"
        if "--backend-store-uri" not in arguments:
            sqlite_uri(folder)
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow_grpc_server.cli", "--port", str(port)),
                    *("--health-interval", "1", *arguments),
                ],
                cwd=folder,
                env={**os.environ, "PYTHONWARNINGS": "default"},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.pid = self._process.pid
        self.address = self._read_address()

    def _read_address(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := _LISTENING.search(line):
                return found[1]
        self._process.wait()
        raise AssertionError(f"the server did not start:\n{self.log.read_text()[-4000:]}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        self._process.send_signal(number)

    def wait(self, timeout: float = 60) -> int:
        """Return the exit code."""
        return self._process.wait(timeout)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
            self.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
