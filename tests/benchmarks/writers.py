"""The ways to write points that are compared. Each writes to new runs of a database of its own."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import psycopg2
import sqlalchemy

__all__ = ["Rate", "Trainers", "count", "in_process", "raw_postgres", "raw_sqlite", "rest_metric"]

_BATCH = 1000
_TIMESTAMP = 1_700_000_000_000
_COLUMNS = "key, value, timestamp, step, is_nan, run_uuid"
_SECONDS = 600


@dataclass(frozen=True)
class Rate:
    """Points that were committed, counted in the database, and the time until they were."""

    points: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Points a second."""
        return self.points / self.seconds


def count(uri: str, run_ids: Sequence[str]) -> int:
    """How many points of runs a database has."""
    engine = sqlalchemy.create_engine(uri)
    with engine.connect() as connection:
        query = sqlalchemy.text("SELECT count(*) FROM metrics WHERE run_uuid IN :runs")
        runs = sqlalchemy.bindparam("runs", expanding=True)
        found = connection.execute(query.bindparams(runs), {"runs": list(run_ids)}).scalar_one()
    engine.dispose()
    return int(found)


def _timed(uri: str, run_id: str, write: Callable[[], None], expected: int) -> Rate:
    started = time.perf_counter()
    write()
    seconds = time.perf_counter() - started
    stored = count(uri, [run_id])
    if stored != expected:
        raise RuntimeError(f"{stored} points are stored, not {expected}")
    return Rate(stored, seconds)


def new_run(uri: str) -> str:
    """Create a run in a database or on an MLflow server."""
    from mlflow import MlflowClient

    return str(MlflowClient(uri).create_run("0").info.run_id)


def _rows(run_id: str, first: int, number: int) -> list[tuple[Any, ...]]:
    return [
        ("loss", step / 7, _TIMESTAMP + step, step, False, run_id)
        for step in range(first, first + number)
    ]


def raw_sqlite(uri: str, number: int, rows_per_statement: int) -> Rate:
    """Bulk inserts written by hand, in WAL mode, a transaction for each 1,000 rows.

    With one row a statement, `executemany` runs it.
    """
    run_id = new_run(uri)
    connection = sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    row = "(?, ?, ?, ?, ?, ?)"
    values = ", ".join([row] * rows_per_statement)
    insert = f"INSERT INTO metrics ({_COLUMNS}) VALUES {values} ON CONFLICT DO NOTHING"

    def write() -> None:
        for first in range(0, number, _BATCH):
            rows = _rows(run_id, first, _BATCH)
            connection.execute("BEGIN IMMEDIATE")
            if rows_per_statement == 1:
                connection.executemany(insert, rows)
            else:
                for start in range(0, _BATCH, rows_per_statement):
                    part = rows[start : start + rows_per_statement]
                    connection.execute(insert, list(chain.from_iterable(part)))
            connection.execute("COMMIT")

    rate = _timed(uri, run_id, write, number)
    connection.close()
    return rate


def raw_postgres(uri: str, number: int) -> Rate:
    """A bulk insert of arrays written by hand, a transaction for each 1,000 rows."""
    run_id = new_run(uri)
    connection = psycopg2.connect(uri.replace("+psycopg2", ""))
    types = ("varchar", "float8", "bigint", "bigint", "bool", "varchar")
    arrays = ", ".join(f"%s::{type_}[]" for type_ in types)
    insert = (
        f"INSERT INTO metrics ({_COLUMNS}) SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING"
    )

    def write() -> None:
        with connection.cursor() as cursor:
            for first in range(0, number, _BATCH):
                columns = zip(*_rows(run_id, first, _BATCH), strict=True)
                cursor.execute(insert, [list(column) for column in columns])
                connection.commit()

    rate = _timed(uri, run_id, write, number)
    connection.close()
    return rate


def in_process(uri: str, number: int, database: str | None = None) -> Rate:
    """`MlflowClient.log_batch` of 1,000; with a `database`, `uri` is the server's before it."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    run_id = new_run(uri)
    client = MlflowClient(uri)

    def write() -> None:
        for first in range(0, number, _BATCH):
            rows = _rows(run_id, first, _BATCH)
            metrics = [Metric(key, value, at, step) for key, value, at, step, _, _ in rows]
            client.log_batch(run_id, metrics)

    return _timed(database or uri, run_id, write, number)


def rest_metric(url: str, number: int, database: str) -> Rate:
    """`MlflowClient.log_metric`, one by one, through MLflow's server."""
    from mlflow import MlflowClient

    run_id = new_run(url)
    client = MlflowClient(url)

    def write() -> None:
        for step in range(number):
            client.log_metric(run_id, "loss", step / 7, step=step, synchronous=True)

    return _timed(database, run_id, write, number)


class Trainers:
    """Training processes that log through the client, each to a run of its own, all at once."""

    def __init__(self, address: str, number: int, points: int, times: int) -> None:
        self._points = points
        command = [sys.executable, "-m", "tests.benchmarks.trainer", address]
        self._processes = [
            subprocess.Popen(
                [*command, str(points), str(times)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(number)
        ]
        self.run_ids = [self._line(process).strip() for process in self._processes]

    def log(self) -> tuple[float, float]:
        """Let all log their points; return the seconds until all are stored and the p50 of a
        call in microseconds."""
        started = time.perf_counter()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        said = [json.loads(self._line(process)) for process in self._processes]
        seconds = time.perf_counter() - started
        costs = sorted(one["call_p50_us"] for one in said)
        return seconds, costs[len(costs) // 2]

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a trainer ended with {process.wait()}")
        return line

    def close(self) -> None:
        """Let the trainers end their runs, and wait for them."""
        for process in self._processes:
            process.communicate(timeout=_SECONDS)


@contextmanager
def trainers(address: str, number: int, points: int, times: int) -> Iterator[Trainers]:
    """Trainers that are ready to log."""
    with ExitStack() as stack:
        ready = Trainers(address, number, points, times)
        stack.callback(ready.close)
        yield ready
