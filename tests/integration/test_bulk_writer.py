"""The bulk writer leaves what MLflow's own `log_batch` leaves, in every table and row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from mlflow_grpc.v1 import resources_pb2
from mlflow_grpc_server.convert import runs
from mlflow_grpc_server.exceptions import NotFoundError, StoreUnavailableError
from mlflow_grpc_server.ingest.entries import Entries, EntryKind
from mlflow_grpc_server.tracking.stores import Stores, open_stores
from tests.databases import sqlite_uri

TABLES = {
    "metrics": ("run_uuid", "key", "value", "timestamp", "step", "is_nan"),
    "latest_metrics": ("run_uuid", "key", "value", "timestamp", "step", "is_nan"),
    "params": ("run_uuid", "key", "value"),
    "tags": ("run_uuid", "key", "value"),
    "logged_model_metrics": (
        *("run_id", "model_id", "metric_name", "metric_timestamp_ms", "metric_step"),
        *("metric_value", "experiment_id", "dataset_uuid", "dataset_name", "dataset_digest"),
    ),
    "runs": ("run_uuid", "name", "status", "lifecycle_stage"),
}
MODEL = "a logged model"


@dataclass(frozen=True)
class Opened:
    """A store, and a logged model in it."""

    stores: Stores
    model_id: str

    @property
    def client(self) -> MlflowClient:
        return self.stores.client

    def rows(self, run_id: str) -> dict[str, list[tuple[Any, ...]]]:
        """Every row that belongs to a run, without its id."""
        found = {}
        with self.client._tracking_client.store.engine.connect() as connection:
            for table, columns in TABLES.items():
                select = f"SELECT {', '.join(columns)} FROM {table} WHERE {columns[0]} = :run"
                rows = connection.execute(sqlalchemy.text(select), {"run": run_id})
                found[table] = sorted((_comparable(row)[1:] for row in rows), key=repr)
        return found


def _comparable(row: Any) -> tuple[Any, ...]:
    """A row with -0.0 as 0.0: they are the same point, and which one is kept is the driver's."""
    return tuple(value + 0.0 if isinstance(value, float) else value for value in row)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("bulk")
    uri = sqlite_uri(folder)
    if request.param == "postgres":
        uri = request.getfixturevalue("postgres")
    stores = open_stores(uri, uri, "mlflow-artifacts:/", str(folder))
    model = stores.client.create_logged_model(experiment_id="0", name=MODEL)
    yield Opened(stores, model.model_id)
    stores.close()


KEYS = st.sampled_from(["loss", "acc/top 1", "a.b-c_d", "Verlust ä", "x:y"])
VALUES = st.one_of(
    st.sampled_from(
        [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 5e-324, 1.7976931348623157e308]
    ),
    st.floats(),
    st.integers(-3, 3).map(float),
)
TIMES = st.one_of(st.integers(0, 3), st.sampled_from([1_700_000_000_000, 2**62]))
STEPS = st.one_of(st.integers(-2, 3), st.sampled_from([-(2**63), 2**63 - 1]))
POINTS = st.builds(
    lambda key, value, timestamp, step: resources_pb2.Metric(
        key=key, value=value, timestamp_ms=timestamp, step=step
    ),
    *(KEYS, VALUES, TIMES, STEPS),
)
# MLflow fails over two values, two datasets or two NaN of one point of a logged model.
MODEL_POINTS = st.builds(
    lambda key, timestamp, step: resources_pb2.Metric(
        key=key,
        value=math.inf if step == 3 else float(step + timestamp),
        timestamp_ms=timestamp,
        step=step,
        model_id=MODEL,
        dataset_name="data" if step > 0 else "",
        dataset_digest="digest" if step > 0 else "",
    ),
    *(KEYS, st.integers(0, 3), st.integers(-2, 3)),
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
PARAMS = st.dictionaries(KEYS, st.sampled_from(["1", '"{\\}"', "NULL", ""]) | TEXT, max_size=3)
TAGS = st.dictionaries(KEYS, TEXT, max_size=3)
NAMES = st.none() | TEXT.filter(bool)
BATCHES = st.lists(
    st.tuples(st.lists(POINTS | MODEL_POINTS, max_size=12), PARAMS, TAGS, NAMES),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=BATCHES)
def test_bulk_leaves_what_mlflow_leaves(opened: Opened, batches: list[Any]) -> None:
    """NaN, infinities, duplicates, steps out of order, params changed, tags replaced."""
    theirs, ours = (opened.client.create_run("0", run_name="r").info.run_id for _ in range(2))
    for points, params, tags, name in batches:
        for point in points:
            if point.model_id:
                point.model_id = opened.model_id
        if name is not None:
            tags = {**tags, MLFLOW_RUN_NAME: name}
        entries = runs.batch(
            ours,
            points or [resources_pb2.Metric(key="always", value=1, timestamp_ms=1)],
            [resources_pb2.Param(key=key, value=value) for key, value in params.items()],
            [resources_pb2.Tag(key=key, value=value) for key, value in tags.items()],
        )
        (outcome,) = opened.stores.metrics.writer.write([entries])
        assert outcome.refused is None
        with (
            pytest.raises(MlflowException, match="Changing param")
            if outcome.rejected
            else (nullcontext())
        ):
            opened.client._tracking_client.store.log_batch(
                theirs,
                [_entity(point) for point in points] or [Metric("always", 1.0, 1, 0)],
                [Param(key, value) for key, value in params.items()],
                [RunTag(key, value) for key, value in tags.items()],
            )
    assert opened.rows(ours) == opened.rows(theirs)


def _entity(point: resources_pb2.Metric) -> Metric:
    return Metric(
        point.key,
        point.value,
        point.timestamp_ms,
        point.step,
        model_id=point.model_id or None,
        dataset_name=point.dataset_name or None,
        dataset_digest=point.dataset_digest or None,
    )


def _points(run_id: str, first: int, number: int) -> Entries:
    rows = [("loss", i / 3, 1_700_000_000_000 + i, i, False, run_id) for i in range(number)]
    return Entries(run_id, rows[first:])


def test_a_group_of_many_rows_and_runs_is_whole(opened: Opened) -> None:
    """More rows, runs and latest points than any one statement takes."""
    run_ids = [opened.client.create_run("0").info.run_id for _ in range(520)]
    group = [_points(run_id, 0, 13) for run_id in run_ids]
    assert all(not outcome.rejected for outcome in opened.stores.metrics.writer.write(group))
    for run_id in (run_ids[0], run_ids[-1]):
        assert len(opened.rows(run_id)["metrics"]) == 13
        assert opened.client.get_run(run_id).data.metrics == {"loss": 4.0}


def test_what_is_stored_already_is_stored_once(opened: Opened) -> None:
    run_id = opened.client.create_run("0").info.run_id
    for first in (0, 0, 500):
        opened.stores.metrics.writer.write([_points(run_id, first, 1111)])
    assert len(opened.rows(run_id)["metrics"]) == 1111


def test_entries_of_a_group_do_not_suffer_for_each_other(opened: Opened) -> None:
    """Absent and deleted runs, absent models and changed params are named; the rest is stored."""
    good, deleted = (opened.client.create_run("0").info.run_id for _ in range(2))
    opened.client.delete_run(deleted)
    opened.client.log_param(good, "lr", "1")
    mixed = Entries(good, params=[(3, "lr", "2"), (4, "new", "x"), (5, "new", "y")])
    mixed.metrics = _points(good, 0, 2).metrics
    outcomes = opened.stores.metrics.writer.write(
        [
            _points("0" * 32, 0, 1),
            _points(deleted, 0, 1),
            mixed,
            Entries(good, tags=[(0, "t", "v")]),
        ]
    )
    assert [type(outcome.refused) for outcome in outcomes[:1]] == [NotFoundError]
    assert outcomes[1].refused is not None
    assert outcomes[1].refused.reason == "RUN_DELETED"
    assert [(one.kind, one.index, one.error.reason) for one in outcomes[2].rejected] == [
        (EntryKind.PARAM, 3, "PARAM_ALREADY_LOGGED"),
        (EntryKind.PARAM, 5, "PARAM_ALREADY_LOGGED"),
    ]
    stored = opened.client.get_run(good).data
    assert stored.params == {"lr": "1", "new": "x"}
    assert stored.tags["t"] == "v"
    assert stored.metrics == {"loss": 1 / 3}
    assert opened.rows(deleted)["metrics"] == []


def test_an_atomic_entry_is_refused_whole(opened: Opened) -> None:
    run_id = opened.client.create_run("0").info.run_id
    entries = _points(run_id, 0, 3)
    entries.params = [(0, "a", "1"), (1, "a", "2")]
    entries.atomic = True
    (outcome,) = opened.stores.metrics.writer.write([entries])
    assert [one.index for one in outcome.rejected] == [1]
    assert opened.rows(run_id)["metrics"] == []
    assert opened.rows(run_id)["params"] == []


def test_a_param_that_another_process_logs_at_the_same_time(postgres: str, tmp_path: Any) -> None:
    """What was not there at the check and is at the write is compared again, not overwritten."""
    stores = open_stores(postgres, postgres, "mlflow-artifacts:/", str(tmp_path))
    run_id = stores.client.create_run("0").info.run_id
    engine = stores.metrics.writer.engine  # type: ignore[attr-defined]
    other = sqlalchemy.create_engine(postgres)

    rivals = iter(["theirs"])

    def log_first(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO params") and next(rivals, None):
            with other.begin() as rival:
                insert = "INSERT INTO params (key, value, run_uuid) VALUES ('lr', 'theirs', :run)"
                rival.execute(sqlalchemy.text(insert), {"run": run_id})

    sqlalchemy.event.listen(engine, "before_cursor_execute", log_first)
    (outcome,) = stores.metrics.writer.write([Entries(run_id, params=[(0, "lr", "ours")])])
    assert [one.error.metadata["stored"] for one in outcome.rejected] == ["theirs"]
    assert stores.client.get_run(run_id).data.params == {"lr": "theirs"}
    other.dispose()
    stores.close()


def test_a_sqlite_file_that_is_gone_takes_nothing(tmp_path: Any) -> None:
    """An open connection would still write to the file, and nobody would ever read it."""
    uri = sqlite_uri(tmp_path)
    stores = open_stores(uri, uri, "mlflow-artifacts:/", str(tmp_path))
    run_id = stores.client.create_run("0").info.run_id
    stores.metrics.writer.write([_points(run_id, 0, 1)])
    (tmp_path / "mlflow.db").rename(tmp_path / "elsewhere.db")
    with pytest.raises(StoreUnavailableError):
        stores.metrics.writer.write([_points(run_id, 0, 1)])
    stores.close()


def test_sqlite_keeps_what_is_acknowledged_through_a_loss_of_power(tmp_path: Any) -> None:
    uri = sqlite_uri(tmp_path)
    stores = open_stores(uri, uri, "mlflow-artifacts:/", str(tmp_path))
    engine = stores.metrics.writer.engine  # type: ignore[attr-defined]
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    stores.close()
