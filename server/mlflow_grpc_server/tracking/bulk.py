"""MLflow's database with its writes of a run's entries replaced by bulk ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy
from mlflow.entities import LifecycleStage
from mlflow.store.tracking.dbmodels.models import SqlLoggedModel, SqlParam, SqlRun
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from sqlalchemy import Connection, Engine, Select, bindparam, select

from mlflow_grpc_server.exceptions import NotFoundError, StoreUnavailableError
from mlflow_grpc_server.ingest.entries import (
    Entries,
    EntryKind,
    MetricRow,
    Outcome,
    Rejected,
)
from mlflow_grpc_server.tracking import bulk_sql
from mlflow_grpc_server.tracking.bulk_sql import Inserter
from mlflow_grpc_server.tracking.refusals import param_changed, wrong_stage

__all__ = ["BulkWriter"]

_ATTEMPTS = 5
_IDS_PER_QUERY = 500

# Built once: statements refer to themselves, and one for each commit would be litter for the
# garbage collector.
_IDS: Any = bindparam("ids", expanding=True)
_RUNS = select(SqlRun.run_uuid, SqlRun.lifecycle_stage, SqlRun.experiment_id).where(
    SqlRun.run_uuid.in_(_IDS)
)
_PARAMS_OF_RUNS = select(SqlParam.run_uuid, SqlParam.key, SqlParam.value).where(
    SqlParam.run_uuid.in_(_IDS)
)
_ACTIVE_MODELS = select(SqlLoggedModel.model_id).where(
    SqlLoggedModel.model_id.in_(_IDS), SqlLoggedModel.lifecycle_stage == LifecycleStage.ACTIVE
)


class _ConcurrentChangeError(Exception):
    """Another process wrote between a check and the write that relies on it."""


@dataclass
class _Rows:
    """What a commit writes; of params and tags one value for each run and key."""

    metrics: list[MetricRow] = field(default_factory=list)
    model_metrics: list[tuple[Any, ...]] = field(default_factory=list)
    params: dict[tuple[str, str], str] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Known:
    """What the store has of what a group names."""

    runs: dict[str, tuple[str, int]]
    """The lifecycle stage and the experiment of each run."""
    params: dict[tuple[str, str], str]
    """The value by run and key."""
    models: set[str]


class BulkWriter:
    """Writes entries as MLflow's `log_batch` would, a group in one transaction.

    What MLflow does row by row with its ORM is a statement for hundreds of rows here. Points that
    are there already meet the primary key, as in MLflow, and stay.
    """

    def __init__(self, engine: Engine, inserter: Inserter) -> None:
        self.engine = engine
        self._insert = inserter.insert
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._file = Path(engine.url.database or "") if self._is_sqlite else None

    def write(self, group: Sequence[Entries]) -> list[Outcome]:
        """Commit a group, of any runs, in order; return an outcome for each.

        Raises StoreUnavailableError if the store is away or locked, and SQLAlchemyError for
        values that it does not take. Nothing is committed then.
        """
        for _ in range(_ATTEMPTS):
            try:
                with self._transaction() as connection:
                    return self._write(connection, group)
            except _ConcurrentChangeError as error:
                conflict: Exception = error
            except sqlalchemy.exc.DBAPIError as error:
                if _is_deadlock(error):
                    conflict = error
                elif _is_away(error):
                    raise StoreUnavailableError from error
                else:
                    raise
            except sqlalchemy.exc.TimeoutError as error:
                raise StoreUnavailableError from error
        raise StoreUnavailableError from conflict

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        # An open connection still writes to a SQLite file that is gone, to nobody's use.
        if self._file is not None and not self._file.is_file():
            raise StoreUnavailableError
        with self.engine.connect() as connection:
            if self._is_sqlite:
                # Before the first read: a reader that becomes a writer does not get in line.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    def _write(self, connection: Connection, group: Sequence[Entries]) -> list[Outcome]:
        known = _look_up(connection, group)
        rows = _Rows()
        outcomes = [_settle(entries, known, rows) for entries in group]
        if rows.metrics:
            self._insert(connection, bulk_sql.METRICS, rows.metrics)
            self._insert(connection, bulk_sql.LATEST_METRICS, _latest(rows.metrics))
        if rows.model_metrics:
            self._insert(connection, bulk_sql.MODEL_METRICS, rows.model_metrics)
        if rows.params:
            params = [(key, value, run_id) for (run_id, key), value in sorted(rows.params.items())]
            if self._insert(connection, bulk_sql.PARAMS, params) < len(params):
                raise _ConcurrentChangeError
        if rows.tags:
            tags = [(key, value, run_id) for (run_id, key), value in sorted(rows.tags.items())]
            self._insert(connection, bulk_sql.TAGS, tags)
        for (run_id, key), value in rows.tags.items():
            if key == MLFLOW_RUN_NAME:
                renamed = sqlalchemy.update(SqlRun).where(SqlRun.run_uuid == run_id)
                connection.execute(renamed.values(name=value))
        return outcomes


def _look_up(connection: Connection, group: Sequence[Entries]) -> _Known:
    run_ids = sorted({entries.run_id for entries in group})
    with_params = sorted({entries.run_id for entries in group if entries.params})
    models = sorted({metric.model_id for entries in group for metric in entries.model_metrics})
    return _Known(
        runs={row[0]: (row[1], row[2]) for row in _select(connection, _RUNS, run_ids)},
        params={
            (row[0], row[1]): row[2] for row in _select(connection, _PARAMS_OF_RUNS, with_params)
        },
        models={row[0] for row in _select(connection, _ACTIVE_MODELS, models)},
    )


def _select(connection: Connection, query: Select[Any], ids: Sequence[str]) -> Iterator[Any]:
    for part in _parts(ids):
        yield from connection.execute(query, {"ids": part})


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _IDS_PER_QUERY):
        yield ids[start : start + _IDS_PER_QUERY]


def _settle(entries: Entries, known: _Known, rows: _Rows) -> Outcome:
    """Add what can be stored of `entries` to `rows`, and return what becomes of them."""
    run_id = entries.run_id
    if run_id not in known.runs:
        return Outcome(refused=NotFoundError("run", run_id))
    stage, experiment_id = known.runs[run_id]
    if stage != LifecycleStage.ACTIVE:
        return Outcome(refused=wrong_stage("run", run_id, "DELETED"))
    rejected = [
        Rejected(EntryKind.METRIC, metric.index, NotFoundError("logged model", metric.model_id))
        for metric in entries.model_metrics
        if metric.model_id not in known.models
    ]
    params: dict[tuple[str, str], str] = {}
    for index, key, value in entries.params:
        at = (run_id, key)
        stored = known.params.get(at, rows.params.get(at, params.get(at)))
        if stored is None:
            params[at] = value
        elif stored != value:
            rejected.append(
                Rejected(EntryKind.PARAM, index, param_changed(index, key, stored, value))
            )
    if rejected and entries.atomic:
        return Outcome(rejected=rejected)
    rows.params.update(params)
    rows.tags.update({(run_id, key): value for _, key, value in entries.tags})
    absent = {
        metric.place for metric in entries.model_metrics if metric.model_id not in known.models
    }
    rows.metrics.extend(
        entries.metrics
        if not absent
        else [row for place, row in enumerate(entries.metrics) if place not in absent]
    )
    for metric in entries.model_metrics:
        if metric.place not in absent:
            key, number, timestamp, step, _, _ = entries.metrics[metric.place]
            rows.model_metrics.append(
                (
                    *(metric.model_id, key, timestamp, step, number, experiment_id, run_id),
                    *(metric.dataset_name, metric.dataset_digest),
                )
            )
    return Outcome(rejected=rejected)


def _latest(metrics: Sequence[MetricRow]) -> list[MetricRow]:
    """Return the most recent point of each run and key, sorted, as locks must be taken."""
    latest: dict[tuple[str, str], MetricRow] = {}
    for row in metrics:
        at = (row[5], row[0])
        known = latest.get(at)
        if known is None or (row[3], row[2], row[1]) > (known[3], known[2], known[1]):
            latest[at] = row
    return [latest[at] for at in sorted(latest)]


def _is_away(error: sqlalchemy.exc.DBAPIError) -> bool:
    # Drivers have other classes, too, for connections that break in the middle of an answer.
    classes = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError)
    return error.connection_invalidated or isinstance(error, classes)


def _is_deadlock(error: sqlalchemy.exc.DBAPIError) -> bool:
    # PostgreSQL's deadlock_detected and serialization_failure.
    return getattr(error.orig, "sqlstate", getattr(error.orig, "pgcode", None)) in (
        "40P01",
        "40001",
    )
