"""How metrics are streamed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from mlflow_grpc._errors import MlflowGrpcError
from mlflow_grpc._stream.entities import StoredMetrics, UnstoredMetrics

__all__ = ["StreamConfig", "WhenFull"]

WhenFull = Literal["block", "drop_oldest", "raise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """How the runs of a client stream their metrics. Immutable, and may be shared by clients.

    The callbacks are called in the client's background thread, one at a time: they must be
    quick, and may not wait for the stream, as `flush` does. What they raise is logged.

    Raises `ValueError` when made with a value out of range.
    """

    buffer_points: int = 100_000
    """The most points that wait to be sent, of all runs of the client together. As many again
    may be on their way to the server and not acknowledged yet."""

    when_full: WhenFull = "block"
    """What logging a point does while the buffer is full: `block` waits for room,
    `drop_oldest` drops the point that has waited longest, and `raise` raises
    `BufferFullError`."""

    linger: float = 0.5
    """How long points are gathered after a message was sent, in seconds, for fewer and larger
    messages. The first point after a pause, a full message and `flush` do not wait for it."""

    flush_timeout: float = 60.0
    """How long `flush`, the end of a run, `close` and the end of the process wait for points to
    be stored, in seconds, unless they are given a timeout."""

    stall_timeout: float = 120.0
    """How long a server may leave what was sent unanswered, in seconds, before the stream is
    cut and made anew."""

    max_backoff: float = 5.0
    """The longest pause between two attempts to connect, in seconds. Pauses start at 0.1
    seconds, double, and are random up to that; a server that asks for a longer one gets it."""

    on_stored: Callable[[StoredMetrics], None] | None = None
    """Called when points are known to be stored."""

    on_rejected: Callable[[UnstoredMetrics], None] | None = None
    """Called for points that the server will never store, with the reason."""

    on_failed: Callable[[MlflowGrpcError], None] | None = None
    """Called when the stream has failed for good, with the reason."""

    def __post_init__(self) -> None:
        if self.buffer_points < 1:
            raise ValueError(f"buffer_points must be at least 1, not {self.buffer_points}")
        if self.when_full not in get_args(WhenFull):
            known = ", ".join(get_args(WhenFull))
            raise ValueError(f"when_full must be one of {known}, not {self.when_full!r}")
        if not 0 <= self.linger < math.inf:
            raise ValueError(f"linger must be 0 seconds or more and finite, not {self.linger}")
        for name in ("flush_timeout", "stall_timeout", "max_backoff"):
            seconds = getattr(self, name)
            if not 0 < seconds < math.inf:
                raise ValueError(f"{name} must be above 0 seconds and finite, not {seconds}")
