"""PostgreSQL clusters of the tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.programs import find_program
from tests.servers import free_port

__all__ = ["PostgresCluster"]


class PostgresCluster:
    """A PostgreSQL cluster on a port the kernel gave, run by an ordinary user.

    As a context manager it ends the server and removes the data.
    """

    def __init__(self) -> None:
        initdb = _postgres_program("initdb")
        # Not below pytest's folder, which is closed to all but the user who runs the tests.
        self._temporary = TemporaryDirectory(prefix="postgres-")
        folder = Path(self._temporary.name)
        self._folder = folder
        self._data = folder / "data"
        self._port = free_port()
        self._user = "postgres" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"postgresql+psycopg2://postgres:s3cr3t@127.0.0.1:{self._port}/postgres"
        password = folder / "password"
        password.write_text("s3cr3t")
        if self._user:
            for place in (folder, password):
                shutil.chown(place, self._user)
        options = ("-U", "postgres", "-A", "scram-sha-256", "--no-sync", f"--pwfile={password}")
        subprocess.run(
            [initdb, "-D", str(self._data), *options],
            user=self._user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def start(self) -> None:
        """Start the server and return when it takes connections.

        A second time if need be: one that was killed may leave what its successor stumbles over.
        """
        if not self._starts() and not self._starts():
            raise AssertionError((self._folder / "log").read_text()[-2000:])

    def _starts(self) -> bool:
        options = ("-p", str(self._port), "-h", "127.0.0.1", "-k", str(self._data))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_postgres_program("postgres"), "-D", str(self._data), *options],
                user=self._user,
                cwd=self._folder,
                stderr=log,
            )
        ask = [_postgres_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        while self._process.poll() is None:
            if subprocess.run(ask, check=False).returncode == 0:
                return True
        return False

    def stop(self) -> None:
        """Stop the server at once; whoever is connected is cut off."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)
            self._process = None

    def __enter__(self) -> PostgresCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._temporary.cleanup()


def _postgres_program(name: str) -> str:
    return find_program(name, "PostgreSQL", "/usr/lib/postgresql/*/bin")
