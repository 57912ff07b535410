"""Runs side by side, over a database and over an MLflow server's client alike."""

from __future__ import annotations

import math

import pytest

from mlflow_grpc import Client, MetricGoal, MetricSummary
from mlflow_grpc_server.tracking.comparison import summaries
from mlflow_grpc_server.tracking.stores import open_stores
from mlflow_grpc_server.tracking.tracking import Tracking
from tests.conftest import Served


class WithoutEngine(Tracking):
    """As over an MLflow server, whose points have to be read."""

    engine = None


@pytest.fixture
def runs(served: Served) -> list[str]:
    with Client(served.address) as client:
        first, second = client.start_run(), client.start_run()
        for step, value in enumerate((3.0, 1.0, math.nan, 2.0)):
            first.log_metric("val_loss", value, step=step)
        second.log_metric("val_loss", 1.5)
        first.log_metric("f1", 0.5)
        second.log_metric("f1", 0.5)
        second.log_metric("void", math.nan)
        first.log_params({"same": 1, "only": 2})
        second.log_params({"same": 1})
        return [first.run_id, second.run_id]


def test_what_differs_and_what_agrees(served: Served, runs: list[str]) -> None:
    first, second = runs
    with Client(served.address) as client:
        found = client.compare_runs(runs)
        metrics = {metric.key: metric for metric in found.metrics}
        turned = client.compare_runs(runs, {"val_loss": "maximize", "void": MetricGoal.MINIMIZE})
    assert [info.run_id for info in found.runs] == runs
    assert {param.key: (param.values, param.agrees) for param in found.params} == {
        "same": ({first: "1", second: "1"}, True),
        "only": ({first: "2"}, False),
    }
    assert metrics["val_loss"].summaries == {
        first: MetricSummary(2.0, 1.0, 3.0, 1.0, 4),
        second: MetricSummary(1.5, 1.5, 1.5, 1.5, 1),
    }
    assert (metrics["val_loss"].goal, metrics["val_loss"].best_run_id) == ("MINIMIZE", first)
    assert (metrics["f1"].goal, metrics["f1"].agrees) == ("MAXIMIZE", True)
    void = metrics["void"].summaries[second]
    assert (math.isnan(void.min), void.best, metrics["void"].best_run_id) == (True, None, None)
    (loss,) = (metric for metric in turned.metrics if metric.key == "val_loss")
    assert (loss.best_run_id, loss.summaries[first].best) == (first, 3.0)
    with pytest.raises(ValueError, match="smallest"):
        client.compare_runs(runs, {"val_loss": "smallest"})


def test_a_database_and_points_that_are_read_agree(served: Served, runs: list[str]) -> None:
    uri = served.backend_store_uri
    stores = open_stores(uri, uri, "", str(served.folder))
    try:
        _, queried = summaries(Tracking(stores.client), runs)
        _, read = summaries(WithoutEngine(stores.client), runs)
    finally:
        stores.close()
    assert repr(sorted(queried.items())) == repr(sorted(read.items()))


def test_what_made_a_run_counts(served: Served) -> None:
    made = {
        "mlflow.user": "me",
        "mlflow.source.name": "train.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.branch": "trunk",
        "mlflow.source.git.dirty": "false",
        "mlflow.source.git.repoURL": "https://git.example/x.git",
    }
    with Client(served.address) as client:
        runs = [
            client.create_run(
                "0",
                tags={**made, "mlflow.source.git.commit": commit, "mlflow.note.content": commit},
            ).info.run_id
            for commit in ("a" * 40, "b" * 40)
        ]
        tags = {tag.key: tag.agrees for tag in client.compare_runs(runs).tags}
    assert tags == {**dict.fromkeys(made, True), "mlflow.source.git.commit": False}
