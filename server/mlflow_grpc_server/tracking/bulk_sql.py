"""Many rows in few statements, over MLflow's own tables, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import sqlalchemy
from mlflow.store.tracking.dbmodels.models import (
    SqlLatestMetric,
    SqlLoggedModelMetric,
    SqlMetric,
    SqlParam,
    SqlTag,
)
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql

__all__ = [
    "LATEST_METRICS",
    "METRICS",
    "MODEL_METRICS",
    "PARAMS",
    "TAGS",
    "BulkInsert",
    "Inserter",
    "inserter",
]

_METRIC_COLUMNS = ("key", "value", "timestamp", "step", "is_nan", "run_uuid")
# Prepared statements are kept by their text, so that few sizes serve all numbers of rows.
_SQLITE_ROWS_PER_STATEMENT = (500, 50, 5, 1)
_POSTGRES_ROWS_PER_STATEMENT = 5000


@dataclass(frozen=True)
class BulkInsert:
    """Rows for one table, as tuples in the order of `columns`."""

    table: Table
    columns: Sequence[str]
    on_conflict: str

    @property
    def head(self) -> str:
        """The statement up to its rows."""
        return f"INSERT INTO {self.table.name} ({', '.join(self.columns)})"


def _replacing(table: Table, columns: Sequence[str], condition: str = "") -> str:
    key = [column.name for column in table.primary_key]
    values = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {values} {condition}".rstrip()


def _latest() -> BulkInsert:
    table = SqlLatestMetric.__table__
    # MLflow's order of recency: a point that ties with the latest one does not replace it.
    newer = (
        "WHERE (excluded.step, excluded.timestamp, excluded.value) > "
        f"({table.name}.step, {table.name}.timestamp, {table.name}.value)"
    )
    return BulkInsert(table, _METRIC_COLUMNS, _replacing(table, _METRIC_COLUMNS, newer))


METRICS = BulkInsert(SqlMetric.__table__, _METRIC_COLUMNS, "ON CONFLICT DO NOTHING")
LATEST_METRICS = _latest()
MODEL_METRICS = BulkInsert(
    SqlLoggedModelMetric.__table__,
    (
        *("model_id", "metric_name", "metric_timestamp_ms", "metric_step", "metric_value"),
        *("experiment_id", "run_id", "dataset_name", "dataset_digest"),
    ),
    "ON CONFLICT DO NOTHING",
)
PARAMS = BulkInsert(SqlParam.__table__, ("key", "value", "run_uuid"), "ON CONFLICT DO NOTHING")
TAGS = BulkInsert(
    SqlTag.__table__,
    ("key", "value", "run_uuid"),
    _replacing(SqlTag.__table__, ("key", "value", "run_uuid")),
)


class Inserter(Protocol):
    """Inserts rows in the way that is fastest on one database."""

    def insert(
        self, connection: Connection, into: BulkInsert, rows: Sequence[tuple[Any, ...]]
    ) -> int:
        """Insert rows; return how many were inserted or changed."""


def inserter(dialect: str) -> Inserter | None:
    """Return the inserter for a dialect; None for one that needs MLflow's own writes."""
    inserters: dict[str, Inserter] = {
        "sqlite": SqliteInserter(),
        "postgresql": PostgresInserter(),
    }
    return inserters.get(dialect)


class SqliteInserter:
    """Lists of VALUES: twice as fast as `executemany`, which runs a statement for each row."""

    def insert(
        self, connection: Connection, into: BulkInsert, rows: Sequence[tuple[Any, ...]]
    ) -> int:
        """Insert rows; return how many were inserted or changed."""
        row = f"({', '.join('?' * len(into.columns))})"
        changed = 0
        for part in _sqlite_parts(rows):
            values = ", ".join([row] * len(part))
            statement = f"{into.head} VALUES {values} {into.on_conflict}"
            done = connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))
            changed += done.rowcount
        return changed


def _sqlite_parts(rows: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    start = 0
    for size in _SQLITE_ROWS_PER_STATEMENT:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


class PostgresInserter:
    """An array for each column: a third of the driver's time for a list of VALUES."""

    def insert(
        self, connection: Connection, into: BulkInsert, rows: Sequence[tuple[Any, ...]]
    ) -> int:
        """Insert rows; return how many were inserted or changed."""
        types = [into.table.c[name].type for name in into.columns]
        arrays = ", ".join(f"%s::{_postgres_type(type_)}[]" for type_ in types)
        statement = f"{into.head} SELECT * FROM unnest({arrays}) {into.on_conflict}"
        changed = 0
        for start in range(0, len(rows), _POSTGRES_ROWS_PER_STATEMENT):
            part = rows[start : start + _POSTGRES_ROWS_PER_STATEMENT]
            columns = zip(*part, strict=True)
            literals = [
                _array_of_text(column) if isinstance(type_, sqlalchemy.String) else _array(column)
                for column, type_ in zip(columns, types, strict=True)
            ]
            changed += connection.exec_driver_sql(statement, tuple(literals)).rowcount
        return changed


def _postgres_type(type_: sqlalchemy.types.TypeEngine[Any]) -> str:
    if isinstance(type_, sqlalchemy.Float):
        # MLflow writes its 53 bits in a way of its own dialects.
        return "double precision"
    return type_.compile(postgresql.dialect())


def _array(values: Iterable[object]) -> str:
    """Return numbers or booleans as PostgreSQL writes an array of them."""
    return "{" + ",".join(map(repr, values)) + "}"


def _array_of_text(values: Iterable[str | None]) -> str:
    quoted: dict[str | None, str] = {None: "NULL"}
    for value in values:
        if value is not None and value not in quoted:
            quoted[value] = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "{" + ",".join([quoted[value] for value in values]) + "}"
