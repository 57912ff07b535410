"""MariaDB servers of the tests' own, which stand for MySQL."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.programs import find_program
from tests.servers import free_port

__all__ = ["MariaDb"]

_USER = """
CREATE DATABASE IF NOT EXISTS mlflow CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE USER IF NOT EXISTS 'mlflow'@'127.0.0.1' IDENTIFIED BY 's3cr3t';
GRANT ALL ON mlflow.* TO 'mlflow'@'127.0.0.1';
"""


class MariaDb:
    """A MariaDB server on a port the kernel gave.

    As a context manager it ends the server and removes the data.
    """

    def __init__(self) -> None:
        installer = _program("mariadb-install-db")
        self._temporary = TemporaryDirectory(prefix="mariadb-")
        folder = Path(self._temporary.name)
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"mysql+pymysql://mlflow:s3cr3t@127.0.0.1:{self._port}/mlflow"
        (folder / "user.sql").write_text(_USER)
        install = [installer, *self._options(), "--skip-test-db"]
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start the server and return when it takes connections."""
        import pymysql  # Here: the client's own tests, which share a conftest, go without it.

        options = (
            *(f"--port={self._port}", "--bind-address=127.0.0.1"),
            *(f"--socket={self._folder}/socket", f"--pid-file={self._folder}/pid"),
            f"--init-file={self._folder}/user.sql",
        )
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program("mariadbd"), *self._options(), *options],
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        while self._process.poll() is None:
            try:
                pymysql.connect(
                    host="127.0.0.1",
                    port=self._port,
                    user="mlflow",
                    password="s3cr3t",
                    database="mlflow",
                ).close()
            except pymysql.err.OperationalError:
                continue
            return
        raise AssertionError((self._folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        """Kill the server; whoever is connected is cut off."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(60)
            self._process = None

    def __enter__(self) -> MariaDb:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._temporary.cleanup()

    def _options(self) -> list[str]:
        folders = [f"--datadir={self._folder}/data", f"--tmpdir={self._folder}"]
        # It runs as root only if it is told to.
        return ["--no-defaults", *folders, *(["--user=root"] if os.geteuid() == 0 else [])]


def _program(name: str) -> str:
    return find_program(name, "MariaDB", "/usr/sbin")
