"""Fill a database with runs and model versions before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Seed", "database_uri", "seed"]

_MODEL = "benchmark-model"


@dataclass(frozen=True)
class Seed:
    """What a database was filled with."""

    experiment_id: str
    run_id: str
    """One of the runs, to get and to log to."""
    model: str
    """The model that has the versions."""


def database_uri(folder: Path) -> str:
    """The URI of the SQLite database in `folder`."""
    return f"sqlite:///{(folder / 'mlflow.db').as_posix()}"


def seed(folder: Path, *, runs: int, versions: int) -> Seed:
    """Create the database in `folder`: runs with a param and a metric each, and one model."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    uri = database_uri(folder)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment_id = client.create_experiment(
        "benchmark", artifact_location=(folder / "artifacts").as_uri()
    )
    run_id = ""
    for number in range(runs):
        run_id = client.create_run(experiment_id).info.run_id
        client.log_batch(
            run_id,
            metrics=[Metric("loss", 1.0 / (number + 1), 1_700_000_000_000 + number, 0)],
            params=[Param("lr", str(number / runs))],
        )
    client.create_registered_model(_MODEL)
    for number in range(versions):
        client.create_model_version(_MODEL, f"s3://bucket/model/{number}", await_creation_for=0)
    return Seed(experiment_id=experiment_id, run_id=run_id, model=_MODEL)
