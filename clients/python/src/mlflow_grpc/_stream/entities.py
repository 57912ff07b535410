"""What a stream tells of itself."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_grpc._entities import Metric
from mlflow_grpc._errors import MlflowGrpcError

__all__ = ["StoredMetrics", "StreamStats", "UnstoredMetrics"]


@dataclass(frozen=True, slots=True)
class StreamStats:
    """How many points are where, and how often the stream was made anew."""

    queued: int
    """Points that wait to be sent, now."""
    in_flight: int
    """Points that were sent and are not acknowledged, now."""
    sent: int
    """Points that were sent; each counts once, however often it was sent again."""
    acked: int
    """Points that are stored."""
    rejected: int
    """Points that the server will never store."""
    dropped: int
    """Points given up: because the buffer was full, or because the stream failed for good."""
    reconnects: int
    """How often the client's stream was made anew."""


@dataclass(frozen=True, slots=True)
class StoredMetrics:
    """Points of a run that are stored."""

    run_id: str
    points: int
    """How many, since the last such message about the run."""


@dataclass(frozen=True, slots=True)
class UnstoredMetrics:
    """Points of a run that will never be stored, all for one reason."""

    run_id: str
    metrics: tuple[Metric, ...]
    error: MlflowGrpcError
    """Why, as a call that logs the points would have failed."""
