"""The exceptions of streams."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from mlflow_grpc._errors import MlflowGrpcError, ResourceExhaustedError
from mlflow_grpc._stream.entities import UnstoredMetrics

__all__ = ["BufferFullError", "MetricsNotStoredError", "buffer_full", "not_stored"]

_MOST_SHOWN = 5


class BufferFullError(ResourceExhaustedError):
    """The buffer of the stream is full; `StreamConfig.when_full` is `raise`."""


class MetricsNotStoredError(MlflowGrpcError):
    """Points that were logged are not stored, or not known to be.

    `code`, `reason` and the rest tell why, for the last thing that went wrong.
    """

    waiting: int
    """Points that are not known to be stored. The client goes on trying while it is open."""

    dropped: int
    """Points that were given up because the stream failed for good."""

    rejected: int
    """Points that the server will never store."""

    rejections: tuple[UnstoredMetrics, ...]
    """The rejected points with the reasons; of very many, the first."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        waiting: int = 0,
        dropped: int = 0,
        rejected: int = 0,
        rejections: Sequence[UnstoredMetrics] = (),
    ) -> None:
        super().__init__(code, message, reason)
        self.waiting = waiting
        self.dropped = dropped
        self.rejected = rejected
        self.rejections = tuple(rejections)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (
            self.code,
            self.message,
            self.reason,
            self.waiting,
            self.dropped,
            self.rejected,
            self.rejections,
        )


def buffer_full(points: int) -> BufferFullError:
    """For a point that found no room."""
    return BufferFullError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"{points:,} points wait to be sent, as many as StreamConfig.buffer_points allows",
        reason="BUFFER_FULL",
    )


def not_stored(
    waiting: int,
    dropped: int,
    rejected: int,
    rejections: Sequence[UnstoredMetrics],
    last_error: MlflowGrpcError | None,
    seconds: float | None = None,
) -> MetricsNotStoredError:
    """Names what is not stored, and why."""
    parts: list[str] = []
    if waiting:
        within = "" if seconds is None else f" within {seconds:g} s"
        parts.append(f"{waiting:,} points are not known to be stored{within}")
    if dropped:
        parts.append(f"{dropped:,} points were given up")
    if rejected:
        shown = "; ".join(map(_shown, rejections[:_MOST_SHOWN]))
        more = "; ..." if len(rejections) > _MOST_SHOWN else ""
        parts.append(f"{rejected:,} points were rejected ({shown}{more})")
    if waiting or dropped:
        code = grpc.StatusCode.DEADLINE_EXCEEDED if last_error is None else last_error.code
        reason = "" if last_error is None else last_error.reason
        why = "the server did not answer" if last_error is None else f"last error: {last_error}"
        parts.append(why)
    else:
        code, reason = rejections[0].error.code, rejections[0].error.reason
    return MetricsNotStoredError(
        code, "; ".join(parts), reason, waiting, dropped, rejected, rejections
    )


def _shown(rejection: UnstoredMetrics) -> str:
    first = rejection.metrics[0]
    count = len(rejection.metrics)
    which = f"{first.key!r} at step {first.step}"
    if count > 1:
        which += f" and {count - 1} more"
    return f"{which} of run {rejection.run_id}: {rejection.error}"
