"""PostgreSQL clusters of the tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from pathlib import Path

from tests.programs import find_program
from tests.servers import free_port

__all__ = ["PostgresCluster"]


class PostgresCluster:
    """A PostgreSQL cluster on a port the kernel gave, run by an ordinary user."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        # Not in `folder`: each start of pytest takes its folders away from all other users.
        home = Path(tempfile.mkdtemp(prefix="postgres-"))
        weakref.finalize(self, shutil.rmtree, home, ignore_errors=True)
        self._home = home
        self._data = home / "data"
        self._port = free_port()
        self._user = "postgres" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"postgresql+psycopg2://postgres:s3cr3t@127.0.0.1:{self._port}/postgres"
        password = home / "password"
        password.write_text("s3cr3t")
        if self._user:
            for place in (home, password):
                shutil.chown(place, self._user)
        options = ("-U", "postgres", "-A", "scram-sha-256", "--no-sync", f"--pwfile={password}")
        subprocess.run(
            [_postgres_program("initdb"), "-D", str(self._data), *options],
            user=self._user,
            cwd=home,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def start(self) -> None:
        """Start the server and return when it takes connections."""
        options = ("-p", str(self._port), "-h", "127.0.0.1", "-k", str(self._data))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [_postgres_program("postgres"), "-D", str(self._data), *options],
                user=self._user,
                cwd=self._home,
                stderr=log,
            )
        ask = [_postgres_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        while self._process.poll() is None:
            if subprocess.run(ask, check=False).returncode == 0:
                return
        raise AssertionError(self._log.read_text()[-2000:])

    def stop(self) -> None:
        """Stop the server at once; whoever is connected is cut off."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)
            self._process = None


def _postgres_program(name: str) -> str:
    return find_program(name, "PostgreSQL", "/usr/lib/postgresql/*/bin")
