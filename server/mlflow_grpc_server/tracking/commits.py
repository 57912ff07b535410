"""The points of a run in the order of their commits, whoever wrote them. Methods block."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import sqlalchemy
from mlflow.entities import LifecycleStage, RunStatus
from mlflow.store.tracking.dbmodels.models import SqlMetric, SqlRun
from sqlalchemy import Connection, Engine, Select, literal_column, select, tuple_

from mlflow_grpc_server.exceptions import InvalidFieldError, NotFoundError
from mlflow_grpc_server.ingest.entries import MetricRow

__all__ = ["CommitLog", "Committed", "Cursor", "commit_log"]

_COLUMNS = (
    SqlMetric.key,
    SqlMetric.value,
    SqlMetric.timestamp,
    SqlMetric.step,
    SqlMetric.is_nan,
    SqlMetric.run_uuid,
)


@dataclass(frozen=True)
class Cursor:
    """How far a watcher has come.

    It has everything committed before `since`, the very beginning if None. Of what came between
    `since` and `until` it has everything up to `position`; `until` is None while it has no part
    of what comes next.
    """

    since: str | None
    until: str | None = None
    position: Sequence[Any] = ()

    def encode(self, run_id: str) -> str:
        """Return the cursor as text for the watcher of `run_id`."""
        return json.dumps([run_id, self.since, self.until, list(self.position)])

    @classmethod
    def decode(cls, text: str, run_id: str) -> Cursor:
        """Return the cursor that `text` stands for; InvalidFieldError if it is of another run."""
        try:
            owner, since, until, position = json.loads(text)
        except (ValueError, TypeError) as error:
            raise InvalidFieldError("cursor", "is not a cursor of this server") from error
        marks = all(mark is None or isinstance(mark, str) for mark in (since, until))
        if not marks or not isinstance(position, list):
            raise InvalidFieldError("cursor", "is not a cursor of this server")
        if owner != run_id:
            raise InvalidFieldError("cursor", "comes from another run")
        return cls(since, until, position)


@dataclass(frozen=True)
class Committed:
    """What one read found: points, whether there may be more, and whether the run had ended."""

    points: list[MetricRow]
    cursor: Cursor
    more: bool
    ended: bool


class CommitLog:
    """Reads what was committed to a run between two marks of the store's own.

    A mark is text: a point in the order of commits. The run's end is looked up before its points
    are, so that once `ended` is told and nothing is left, nothing more can come before the end.
    """

    def __init__(self, engine: Engine, marks: _Marks) -> None:
        self._engine = engine
        self._marks = marks

    def now(self) -> Cursor:
        """Return the cursor behind everything committed so far."""
        with self._engine.connect() as connection:
            return Cursor(since=self._marks.now(connection))

    def read(self, run_id: str, keys: Sequence[str], cursor: Cursor, limit: int) -> Committed:
        """Return up to `limit` points after `cursor`, of `keys` or of all metrics.

        Raises NotFoundError if the run is gone, InvalidFieldError if the cursor is not of here.
        """
        with self._engine.connect() as connection:
            ended = _has_ended(connection, run_id)
            until = cursor.until or self._marks.now(connection)
            query = select(*_COLUMNS).limit(limit)
            if keys:
                query = query.where(SqlMetric.key.in_(keys))
            span = _Span(run_id, cursor.since, until, cursor.position)
            try:
                query = self._marks.within(query, span)
                rows = [tuple(row) for row in connection.execute(query)]
            except (ValueError, TypeError, sqlalchemy.exc.DataError) as error:
                raise InvalidFieldError("cursor", "is not a cursor of this server") from error
        points: list[Any] = [row[: len(_COLUMNS)] for row in rows]
        if len(rows) < limit:
            # Behind a mark of an earlier read there may be more.
            return Committed(points, Cursor(until), more=cursor.until is not None, ended=ended)
        position = self._marks.position(rows[-1], span)
        return Committed(points, Cursor(cursor.since, until, position), more=True, ended=ended)


def commit_log(engine: Engine) -> CommitLog | None:
    """Return the commit log of a database; None for one that keeps no order of commits."""
    marks: dict[str, _Marks] = {"sqlite": _SqliteMarks(), "postgresql": _PostgresMarks()}
    found = marks.get(engine.dialect.name)
    return CommitLog(engine, found) if found else None


def _has_ended(connection: Connection, run_id: str) -> bool:
    run = connection.execute(
        select(SqlRun.status, SqlRun.lifecycle_stage).where(SqlRun.run_uuid == run_id)
    ).one_or_none()
    if run is None:
        raise NotFoundError("run", run_id)
    terminated = RunStatus.is_terminated(RunStatus.from_string(run.status))
    return terminated or run.lifecycle_stage == LifecycleStage.DELETED


@dataclass(frozen=True)
class _Span:
    """What was committed to a run between two marks, behind a position."""

    run_id: str
    since: str | None
    until: str
    position: Sequence[Any]


class _Marks(Protocol):
    """How one database tells the order of commits."""

    def now(self, connection: Connection) -> str:
        """Return the mark of this moment."""

    def within(self, query: Select[Any], span: _Span) -> Select[Any]:
        """Restrict `query` to a span, in order."""

    def position(self, row: Sequence[Any], span: _Span) -> Sequence[Any]:
        """Return the position of a row that was found in a span."""


class _SqliteMarks:
    """SQLite's row ids: it has one writer at a time, which takes the next one for each row.

    They are taken anew once the newest rows of the table are deleted, which MLflow does only when
    `mlflow gc` removes runs for good; a watcher may miss points that are committed in the same
    moment as that.
    """

    _row_id: ClassVar[Any] = literal_column("metrics.rowid", sqlalchemy.Integer)

    def now(self, connection: Connection) -> str:
        newest = connection.execute(
            select(sqlalchemy.func.max(self._row_id)).select_from(SqlMetric)
        ).scalar()
        return str(newest or 0)

    def within(self, query: Select[Any], span: _Span) -> Select[Any]:
        query = query.add_columns(self._row_id).where(self._row_id <= int(span.until))
        if span.since is None:
            query = query.where(SqlMetric.run_uuid == span.run_id)
            order = (SqlMetric.key, SqlMetric.step, self._row_id)
            if span.position:
                key, step, row_id = span.position
                query = query.where(tuple_(*order) > tuple_(str(key), int(step), int(row_id)))
            return query.order_by(*order)
        (last,) = span.position or (span.since,)
        # The plus keeps SQLite from an index: of all runs the new rows are few, of this run all
        # rows are many.
        of_run = literal_column("+metrics.run_uuid", sqlalchemy.String) == span.run_id
        return query.where(self._row_id > int(last), of_run).order_by(self._row_id)

    def position(self, row: Sequence[Any], span: _Span) -> Sequence[Any]:
        return (row[0], row[3], row[-1]) if span.since is None else (row[-1],)


class _PostgresMarks:
    """PostgreSQL's snapshots: a row is new if its transaction is not visible in the older one.

    Rows hold 32 bits of the number of their transaction (xmin); the snapshot has the rest. MLflow
    inserts points outside of subtransactions, which snapshots do not list.
    """

    _snapshot: ClassVar[Any] = literal_column("pg_current_snapshot()::text", sqlalchemy.String)
    _ORDER = (
        *(SqlMetric.key, SqlMetric.step, SqlMetric.timestamp, SqlMetric.value, SqlMetric.is_nan),
    )
    _VISIBLE = """pg_visible_in_snapshot((
        metrics.xmin::text::bigint
        + (pg_snapshot_xmax(pg_current_snapshot())::text::bigint >> 32 << 32)
        - CASE WHEN metrics.xmin::text::bigint
            > (pg_snapshot_xmax(pg_current_snapshot())::text::bigint & 4294967295)
          THEN 4294967296 ELSE 0 END
    )::text::xid8, CAST({} AS pg_snapshot))"""

    def now(self, connection: Connection) -> str:
        return str(connection.execute(select(self._snapshot)).scalar_one())

    def within(self, query: Select[Any], span: _Span) -> Select[Any]:
        visible = sqlalchemy.text(self._VISIBLE.format(":until")).bindparams(until=span.until)
        query = query.where(SqlMetric.run_uuid == span.run_id, visible)
        if span.since is not None:
            known = sqlalchemy.text("NOT " + self._VISIBLE.format(":since"))
            query = query.where(known.bindparams(since=span.since))
        if span.position:
            key, step, timestamp, value, is_nan = span.position
            last = (str(key), int(step), int(timestamp), float(value), bool(is_nan))
            query = query.where(tuple_(*self._ORDER) > tuple_(*last))
        return query.order_by(*self._ORDER)

    def position(self, row: Sequence[Any], span: _Span) -> Sequence[Any]:
        key, value, timestamp, step, is_nan, _ = row
        return (key, step, timestamp, value, is_nan)
