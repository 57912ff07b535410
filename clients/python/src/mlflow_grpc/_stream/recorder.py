"""What a run logs, checked and on its way to the stream."""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import SupportsFloat

from mlflow_grpc._entities import Metric
from mlflow_grpc._forks import check_process
from mlflow_grpc._stream.buffer import Flush, NewPoint
from mlflow_grpc._stream.engine import Engine
from mlflow_grpc._stream.entities import StreamStats
from mlflow_grpc._stream.lane import Lane

__all__ = ["Recorder"]

_INT64 = 2**63


class Recorder:
    """Logs to the stream for one run.

    What is checked here is a mistake in the program, and raises at the call; what only the
    server can know becomes a rejection.
    """

    def __init__(self, engine: Engine, run_id: str) -> None:
        self._engine = engine
        self._lane = Lane(run_id)
        self._pid = os.getpid()

    def log(
        self,
        key: str,
        value: SupportsFloat,
        step: int | None,
        timestamp: int | None,
        dataset_name: str | None,
        dataset_digest: str | None,
        model_id: str | None,
    ) -> list[NewPoint]:
        """Logs a point and returns nothing, or, if there is no room for it now, the point."""
        extras = None
        if dataset_name or dataset_digest or model_id:
            extras = (_text(dataset_name), _text(dataset_digest), _text(model_id))
        point: NewPoint = (
            _key(key),
            float(value),
            time.time_ns() // 1_000_000 if timestamp is None else _int64("timestamp", timestamp),
            step if step is None else _int64("step", step),
            extras,
        )
        return self.offer([point])

    def log_all(
        self,
        metrics: Mapping[str, SupportsFloat] | Iterable[Metric],
        step: int | None,
        timestamp: int | None,
    ) -> list[NewPoint]:
        """Logs points and returns those that there is no room for now."""
        now = time.time_ns() // 1_000_000
        if isinstance(metrics, Mapping):
            at = now if timestamp is None else _int64("timestamp", timestamp)
            step = step if step is None else _int64("step", step)
            return self.offer(
                [(_key(key), float(value), at, step, None) for key, value in metrics.items()]
            )
        if step is not None or timestamp is not None:
            raise ValueError("step and timestamp go with a mapping; a Metric has its own")
        return self.offer([_new_point(metric, now) for metric in metrics])

    def offer(self, points: list[NewPoint]) -> list[NewPoint]:
        """Logs points and returns those that there is no room for now."""
        check_process(self._pid)
        count = self._engine.offer(self._lane, points)
        return points[count:]

    def room(self) -> Future[None]:
        """Completes when there may be room again."""
        return self._engine.room()

    def flush(self) -> Flush:
        """Sends what was logged at once."""
        check_process(self._pid)
        return self._engine.flush(self._lane)

    @property
    def is_foreign(self) -> bool:
        """Whether this is a fork of the process that the run was started in."""
        return os.getpid() != self._pid

    @property
    def stats(self) -> StreamStats:
        """The counters of the run."""
        check_process(self._pid)
        return self._engine.stats(self._lane)


def _new_point(metric: Metric, now: int) -> NewPoint:
    extras = None
    if metric.dataset_name or metric.dataset_digest or metric.model_id:
        extras = (_text(metric.dataset_name), _text(metric.dataset_digest), _text(metric.model_id))
    return (
        _key(metric.key),
        float(metric.value),
        now if metric.timestamp is None else _int64("timestamp", metric.timestamp),
        _int64("step", metric.step),
        extras,
    )


def _key(key: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"key must be a str, not {type(key).__name__}")
    if not key.isascii():
        key.encode()
    return key


def _text(text: str | None) -> str:
    return _key(text or "")


def _int64(name: str, number: int) -> int:
    try:
        exact = operator.index(number)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {type(number).__name__}") from None
    if not -_INT64 <= exact < _INT64:
        raise ValueError(f"{name} must fit in 64 bits, and is {exact}")
    return exact
