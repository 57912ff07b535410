"""Real servers for the tests: on port 0, over real databases in folders of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import ServerProcess


@dataclass(frozen=True)
class Served:
    """A running server and where its data is."""

    address: str
    backend_store_uri: str
    folder: Path


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server over SQLite for the tests that need no server of their own."""
    folder = tmp_path_factory.mktemp("served")
    uri = f"sqlite:///{folder}/mlflow.db"
    with ServerProcess(folder, "--backend-store-uri", uri) as server:
        yield Served(server.address, uri, folder)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a database in a private PostgreSQL cluster."""
    folder = tmp_path_factory.mktemp("postgres")
    cluster = PostgresCluster(folder)
    cluster.start()
    try:
        yield cluster.uri
    finally:
        cluster.stop()


class PostgresCluster:
    """A PostgreSQL cluster that listens on a port the kernel gave, as an ordinary user."""

    def __init__(self, folder: Path) -> None:
        from tests.servers import free_port

        self._data = folder / "data"
        self._log = folder / "log"
        self._port = free_port()
        self.uri = f"postgresql+psycopg2://postgres:s3cr3t@127.0.0.1:{self._port}/postgres"
        password = folder / "password"
        password.write_text("s3cr3t")
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            shutil.chown(password, "postgres")
            for parent in folder.parents:
                if parent.is_relative_to("/tmp/pytest-of-root"):
                    parent.chmod(0o755)
        self._run(
            "initdb",
            "-D",
            self._data,
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            "--no-sync",
            f"--pwfile={password}",
        )

    def start(self) -> None:
        options = f"-p {self._port} -h 127.0.0.1 -k {self._data}"
        self._run("pg_ctl", "-D", self._data, "-l", self._log, "-o", options, "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: object) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*user, _postgres_program(program), *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, cwd="/", check=False)
        assert done.returncode == 0, f"{program} ended with {done.returncode}"


def _postgres_program(name: str) -> str:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(installed[-1]) if installed else shutil.which(name)
    assert found, f"{name} is not installed; the tests need PostgreSQL's server (see .ci/run)"
    return found
