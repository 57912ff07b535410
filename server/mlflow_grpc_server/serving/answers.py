"""What the caller of a model is told."""

from __future__ import annotations

import json

from mlflow_grpc_server.exceptions import (
    InvalidFieldError,
    ModelFailedError,
    ModelLimitError,
    PredictTimeoutError,
    RequestError,
    ServingUnavailableError,
    UnimplementedError,
)
from mlflow_grpc_server.serving.frames import Kind
from mlflow_grpc_server.serving.process import Cause, Ended

__all__ = ["GoneError", "MovedError", "answer_in", "failed", "stopped", "too_slow"]


class GoneError(Exception):
    """The process of a call ended before it answered."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.message)
        self.ended = ended


class MovedError(Exception):
    """The version of a call that waits is served no more, but another one of the model is."""


def stopped() -> ServingUnavailableError:
    """Return the error of calls for a model that is being stopped."""
    return ServingUnavailableError("MODEL_STOPPED", "The model is being stopped.")


def too_slow(seconds: float) -> PredictTimeoutError:
    """Return the error of a call that took longer than it may."""
    return PredictTimeoutError(
        "PREDICT_TIMEOUT",
        f"The model took longer than the {seconds:g} s it has; its replica restarts.",
        {"seconds": f"{seconds:g}"},
    )


def failed(ended: Ended) -> RequestError:
    """Return what the caller of a call is told whose process ended so."""
    metadata = {"cause": ended.cause}
    if ended.cause == Cause.CRASHED:
        text = f"The model ended its process while it predicted: {ended.message}."
        return ModelFailedError("MODEL_CRASHED", text, metadata)
    if ended.cause == Cause.MEMORY:
        text = f"The replica was ended while it predicted: {ended.message}."
        return ModelLimitError("MODEL_OUT_OF_MEMORY", text, metadata)
    return ServingUnavailableError(
        "REPLICA_LOST", f"The replica was lost while it predicted: {ended.message}.", metadata
    )


def answer_in(frame: tuple[Kind, bytes]) -> bytes:
    """Return the answer, or raise what the worker says instead of one."""
    kind, payload = frame
    if kind is not Kind.FAILED:
        return payload
    fault = json.loads(payload)
    message = fault["message"]
    if fault["kind"] == "invalid":
        raise InvalidFieldError(fault["field"] or "payload", message)
    if fault["kind"] == "memory":
        raise ModelLimitError("MODEL_OUT_OF_MEMORY", message)
    if fault["kind"] == "large":
        raise ModelLimitError("ANSWER_TOO_LARGE", message)
    if fault["kind"] == "not streaming":
        raise UnimplementedError("NOT_A_STREAMING_MODEL", message)
    raise ModelFailedError("MODEL_FAILED", message)
