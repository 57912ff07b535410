"""The quick way to read a run gives what MLflow's own way gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import SqlRun
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from mlflow_grpc_server.tracking.sql_store import SqlStore
from tests.databases import sqlite_uri

KEYS = st.sampled_from(["a", "b/ü", "c 1", "mlflow.note.content"])
NUMBERS = st.floats() | st.sampled_from([float("nan"), float("inf"), -float("inf")])
METRICS = st.lists(
    st.builds(Metric, KEYS, NUMBERS, st.integers(0, 9), st.integers(-9, 9)), max_size=5
)
PAIRS = st.dictionaries(KEYS, st.text("xü🎉", max_size=5), max_size=3)
DATASETS = st.lists(st.tuples(st.sampled_from("def"), PAIRS), max_size=3, unique_by=lambda d: d[0])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SqlStore:
    folder: Path = tmp_path_factory.mktemp("store")
    return SqlStore(sqlite_uri(folder), str(folder))


def flat(run: Any) -> str:
    """Everything of a run, in an order of its own; NaN is like NaN."""
    metrics = sorted(repr(dict(metric)) for metric in run.data._metric_objs)
    inputs = sorted(
        (repr(dict(one.dataset)), sorted((tag.key, tag.value) for tag in one.tags))
        for one in run.inputs.dataset_inputs
    )
    models = sorted(one.model_id for one in run.inputs.model_inputs)
    outputs = sorted((one.model_id, one.step) for one in run.outputs.model_outputs)
    parts = (dict(run.info), sorted(run.data.params.items()), sorted(run.data.tags.items()))
    return repr((*parts, metrics, inputs, models, outputs))


@given(
    metrics=METRICS,
    params=PAIRS,
    tags=PAIRS,
    datasets=DATASETS,
    models=st.integers(0, 2),
    ends=st.sampled_from(["running", "deleted", "nameless"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_run_is_what_mlflow_reads(
    store: SqlStore,
    metrics: list[Metric],
    params: dict[str, str],
    tags: dict[str, str],
    datasets: list[tuple[str, dict[str, str]]],
    models: int,
    ends: str,
) -> None:
    run_id = store.create_run("0", "user", 1, [], None).info.run_id
    store.log_batch(
        run_id,
        metrics,
        [Param(key, value) for key, value in params.items()],
        [RunTag(key, value) for key, value in tags.items()],
    )
    made = [store.create_logged_model("0").model_id for _ in range(models)]
    used = [
        DatasetInput(
            Dataset(name, "1", "local", "s"), [InputTag(key, value) for key, value in t.items()]
        )
        for name, t in datasets
    ]
    store.log_inputs(run_id, used, [LoggedModelInput(model_id) for model_id in made])
    store.log_outputs(run_id, [LoggedModelOutput(model_id, 7) for model_id in made])
    if ends == "deleted":
        store.delete_run(run_id)
    if ends == "nameless":
        with store.ManagedSessionMaker(read_only=False) as session:
            session.get(SqlRun, run_id).name = ""
    assert flat(store.get_run(run_id)) == flat(SqlAlchemyStore.get_run(store, run_id))


def test_an_absent_run_is_refused_as_mlflow_does(store: SqlStore) -> None:
    with pytest.raises(MlflowException) as theirs:
        SqlAlchemyStore.get_run(store, "none")
    with pytest.raises(MlflowException) as ours:
        store.get_run("none")
    assert (ours.value.error_code, ours.value.message) == (
        theirs.value.error_code,
        theirs.value.message,
    )
