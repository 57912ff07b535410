"""Watching a run, over as many streams as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import grpc

from mlflow_grpc import _convert as convert
from mlflow_grpc._backoff import backoff
from mlflow_grpc._calls.call import Method
from mlflow_grpc._entities import Metric, Run
from mlflow_grpc._errors import MlflowGrpcError, UnavailableError
from mlflow_grpc.v1 import run_service_pb2 as pb

__all__ = ["MetricPoints", "RunEnd", "RunEvent", "RunSnapshot", "Watch", "watch_run"]

T = TypeVar("T")

# A server that is away may be back for a moment only; finding out costs next to nothing.
_MAX_BACKOFF_AWAY = 1.0
# One that answers with an error is to have rest.
_MAX_BACKOFF = 5.0
# The ends of a stream that a new one may mend.
_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A watched run, as it was when the watch began."""

    run: Run
    cursor: str
    """Where another watch goes on after this."""


@dataclass(frozen=True, slots=True)
class MetricPoints:
    """Points of a watched run that were committed."""

    metrics: tuple[Metric, ...]
    cursor: str
    """Where another watch goes on after this."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """A watched run, as it ended or was deleted; nothing comes after it."""

    run: Run
    cursor: str
    """Where another watch goes on after this."""


RunEvent: TypeAlias = RunSnapshot | MetricPoints | RunEnd


class Watch(Generic[T]):
    """A watch that goes on, after its stream was cut, where it was."""

    def __init__(
        self,
        method: Method,
        request: Callable[[str], pb.WatchRunRequest],
        convert: Callable[[pb.WatchRunResponse], T | None],
        cursor: str,
    ) -> None:
        self.method = method
        self.ended = False
        self._request = request
        self._convert = convert
        self._cursor = cursor
        self._has_snapshot = False
        self._attempt = 0
        self._away_since: float | None = None
        self._patience: float | None = None

    def may_be_away(self, seconds: float | None) -> None:
        """How long the server may be away at a stretch; None: for ever."""
        self._patience = seconds

    def request(self) -> pb.WatchRunRequest:
        """What to ask for now."""
        return self._request(self._cursor)

    def take(self, response: pb.WatchRunResponse) -> Iterator[T]:
        """Yields the event that a message brings, if it is news."""
        self._attempt = 0
        self._away_since = None
        kind = response.WhichOneof("event")
        self._cursor = response.cursor
        self.ended = kind == "end"
        if kind == "snapshot" and self._has_snapshot:
            return
        self._has_snapshot = True
        event = self._convert(response)
        if event is not None:
            yield event

    def pause_after(self, error: MlflowGrpcError | None) -> float:
        """The seconds to wait after the end of a stream; raises where another cannot help."""
        if self.ended:
            return 0.0
        if error is None:
            error = UnavailableError(grpc.StatusCode.UNAVAILABLE, "the server ended the stream")
        if error.code not in _PASSING:
            raise error
        now = time.monotonic()
        self._away_since = now if self._away_since is None else self._away_since
        if self._patience is not None and now - self._away_since >= self._patience:
            raise error
        away = error.code is grpc.StatusCode.UNAVAILABLE
        pause = backoff(self._attempt, _MAX_BACKOFF_AWAY if away else _MAX_BACKOFF)
        self._attempt += 1
        return pause + (error.retry_delay or 0.0)


def watch_run(
    run_id: str, metric_keys: Sequence[str] | None, include_history: bool, cursor: str | None
) -> Watch[RunEvent]:
    if cursor and include_history:
        raise ValueError("include_history goes without a cursor")
    keys = [metric_keys] if isinstance(metric_keys, str) else list(metric_keys or ())

    def request(at: str) -> pb.WatchRunRequest:
        return pb.WatchRunRequest(
            run_id=run_id,
            metric_keys=keys,
            include_history=include_history and not at,
            cursor=at,
        )

    service = pb.DESCRIPTOR.services_by_name["RunService"].full_name
    method = Method(f"/{service}/WatchRun", pb.WatchRunResponse.FromString, kind="unary_stream")
    return Watch(method, request, _event, cursor or "")


def _event(response: pb.WatchRunResponse) -> RunEvent | None:
    kind = response.WhichOneof("event")
    if kind == "snapshot":
        return RunSnapshot(convert.run(response.snapshot), response.cursor)
    if kind == "points":
        metrics = tuple(map(convert.metric, response.points.metrics))
        return MetricPoints(metrics, response.cursor)
    if kind == "end":
        return RunEnd(convert.run(response.end), response.cursor)
    # A later server may tell more.
    return None
