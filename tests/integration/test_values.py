"""Values at the edge of what is allowed are stored, and are to MLflow what they were."""

from __future__ import annotations

import math

import pytest
from mlflow import MlflowClient

from tests.conftest import Served
from tests.rpc import Rpcs

NAME = "größe/日本/🎉 a"


@pytest.fixture(scope="module")
def mlflow(served: Served) -> MlflowClient:
    """MLflow itself, over the server's database."""
    return MlflowClient(served.backend_store_uri, served.backend_store_uri)


def test_unicode_and_slashes_are_kept(rpcs: Rpcs, mlflow: MlflowClient, unique: str) -> None:
    tag = {"key": "t/ü", "value": NAME}
    experiment = rpcs(
        "CreateExperiment", name=f"{NAME}{unique}", description=NAME, tags=[tag]
    ).experiment
    assert rpcs("GetExperimentByName", name=f"{NAME}{unique}").experiment == experiment
    stored = mlflow.get_experiment(experiment.experiment_id)
    assert (stored.name, stored.tags["t/ü"]) == (f"{NAME}{unique}", NAME)
    assert stored.tags["mlflow.note.content"] == NAME

    request = {"experimentId": experiment.experiment_id, "runName": NAME, "tags": [tag]}
    run_id = rpcs("StartRun", **request).run.info.run_id
    metric = {"key": "m/ü 1", "value": 1.0}
    rpcs("LogBatch", runId=run_id, metrics=[metric], params=[{"key": "p/ü", "value": NAME}])
    found = rpcs(
        "SearchRuns", experimentIds=[experiment.experiment_id], filter=f"tags.`t/ü` = '{NAME}'"
    )
    assert [run.info.run_id for run in found.runs] == [run_id]
    run = mlflow.get_run(run_id)
    assert (run.info.run_name, run.data.tags["t/ü"]) == (NAME, NAME)
    assert (run.data.params, run.data.metrics) == ({"p/ü": NAME}, {"m/ü 1": 1.0})

    model = f"模型 ü 🎉 {unique}"
    rpcs("RegisterModel", name=model, source=f"runs:/{run_id}/m/ü", description=NAME)
    rpcs("SetRegisteredModelAlias", name=model, version="1", alias="a-1")
    version = rpcs("GetModelVersionByAlias", name=model, alias="a-1").model_version
    assert (version.name, version.description) == (model, NAME)
    assert mlflow.get_model_version_by_alias(model, "a-1").source == version.source


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_what_mlflow_makes_of_them(
    rpcs: Rpcs, mlflow: MlflowClient, value: str
) -> None:
    run_id = rpcs("StartRun", experimentId="0").run.info.run_id
    rpcs("LogMetrics", runId=run_id, metrics=[{"key": "ours", "value": value}])
    mlflow.log_metric(run_id, "theirs", float(value))
    ours, theirs = (mlflow.get_run(run_id).data.metrics[key] for key in ("ours", "theirs"))
    assert ours == theirs or (math.isnan(ours) and math.isnan(theirs))
    latest = {point.key: point.value for point in rpcs("GetRun", runId=run_id).run.data.metrics}
    assert repr(latest) == repr(mlflow.get_run(run_id).data.metrics)
    (point,) = rpcs("GetMetricHistory", runId=run_id, metricKey="ours").metrics
    assert repr(point.value) == repr(ours)
