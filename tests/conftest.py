"""Real servers for the tests: on port 0, over real databases in folders of their own."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mariadb import MariaDb
from tests.postgres import PostgresCluster
from tests.servers import ServerProcess

# Importing MLflow and all tests makes a million objects that stay.
gc.disable()


def pytest_collection_finish() -> None:
    """Collects garbage again, but not among those."""
    gc.freeze()
    gc.enable()


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
def postgres() -> Iterator[str]:
    """The URI of a database in a private PostgreSQL cluster."""
    with PostgresCluster() as cluster:
        cluster.start()
        yield cluster.uri


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    """The URI of a database in a private MariaDB server."""
    with MariaDb() as server:
        server.start()
        yield server.uri
