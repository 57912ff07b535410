"""How a run starts and ends, and what becomes of a wait, as far as it needs no channel."""

from __future__ import annotations

import asyncio

import grpc

from mlflow_grpc._enums import RunStatus
from mlflow_grpc._errors import NotFoundError

__all__ = ["DEFAULT_EXPERIMENT_ID", "check_one_experiment", "gone", "no_experiment", "outcome"]

# The experiment that every MLflow store has from the start.
DEFAULT_EXPERIMENT_ID = "0"


def outcome(error: BaseException | None) -> RunStatus:
    """The status of a run whose `with` block an exception ended, or nothing did."""
    if error is None:
        return RunStatus.FINISHED
    if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
        return RunStatus.KILLED
    return RunStatus.FAILED


def check_one_experiment(experiment_id: str | None, experiment_name: str | None) -> None:
    """`ValueError` if both are given."""
    if experiment_id is not None and experiment_name is not None:
        raise ValueError("give experiment_id or experiment_name, not both")


def no_experiment(name: str) -> NotFoundError:
    """For an experiment that was there a moment ago."""
    return NotFoundError(
        grpc.StatusCode.NOT_FOUND,
        f"experiment {name!r} vanished while the run was being started",
        reason="EXPERIMENT_NOT_FOUND",
        metadata={"name": name},
    )


def gone() -> NotFoundError:
    """For a served model that was undeployed while it was waited for."""
    return NotFoundError(
        grpc.StatusCode.NOT_FOUND,
        "the model was undeployed while it was waited for",
        reason="SERVED_MODEL_NOT_FOUND",
    )
