"""SQLite connections: MLflow's own settings, once each, and a journal that readers can read by."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from mlflow_grpc_server.tracking.sqlite import PRAGMAS, set_up_connections
from tests.databases import sqlite_uri

VALUES = {
    "foreign_keys": 1,
    "busy_timeout": 20000,
    "journal_mode": "wal",
    "synchronous": 2,  # FULL
}


def statements(engine: sqlalchemy.Engine) -> list[str]:
    """Return a list that grows by each statement that the engine is sent."""
    sent: list[str] = []

    @sqlalchemy.event.listens_for(engine, "before_cursor_execute")
    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        sent.append(statement)

    return sent


@pytest.fixture
def store(tmp_path: Path) -> SqlAlchemyStore:
    return SqlAlchemyStore(sqlite_uri(tmp_path), str(tmp_path))


def test_the_pragmas_are_those_that_mlflow_sets_in_each_session(store: SqlAlchemyStore) -> None:
    sent = statements(store.engine)
    with store.ManagedSessionMaker() as session:
        session.execute(sqlalchemy.text("SELECT 1"))
    assert [f"PRAGMA {pragma};" for pragma in PRAGMAS] == sent[:-1]


def test_each_connection_has_them_and_no_session_sends_them(store: SqlAlchemyStore) -> None:
    set_up_connections(store)
    sent = statements(store.engine)
    with store.engine.connect() as one, store.engine.connect() as other:
        for connection in (one, other):
            for name, value in VALUES.items():
                assert connection.exec_driver_sql(f"PRAGMA {name}").scalar() == value
            # The one that cannot be asked for its value.
            assert connection.exec_driver_sql("SELECT 'a' LIKE 'A'").scalar() == 0
    sent.clear()
    with store.ManagedSessionMaker() as session:
        session.execute(sqlalchemy.text("SELECT 1"))
    assert sent == ["SELECT 1"]


def test_a_second_store_over_the_same_engine_is_set_up_too(store: SqlAlchemyStore) -> None:
    for one in (store, SqlAlchemyStore(store.db_uri, "unused")):
        sent = statements(set_up_connections(one).engine)
        one.get_experiment("0")
        assert not [statement for statement in sent if "PRAGMA" in statement]


def test_a_file_that_another_program_reads_keeps_its_journal(
    store: SqlAlchemyStore, caplog: pytest.LogCaptureFixture
) -> None:
    reader = sqlite3.connect(store.engine.url.database or "", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM experiments").fetchall()
    set_up_connections(store)
    assert "WAL" in caplog.text
    assert store.get_experiment("0").name == "Default"
    reader.execute("COMMIT")
    reader.close()
    store.create_experiment("written")
