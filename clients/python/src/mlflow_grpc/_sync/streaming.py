"""Logging the metrics of a run in the background."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import SupportsFloat

from mlflow_grpc._entities import Metric
from mlflow_grpc._stream.buffer import NewPoint
from mlflow_grpc._stream.entities import StreamStats
from mlflow_grpc._stream.recorder import Recorder
from mlflow_grpc._sync.base import Caller


class MetricStream:
    """The methods of a run that stream."""

    def __init__(self, client: Caller, run_id: str) -> None:
        self._caller = client
        self._recorder = Recorder(client._engine, run_id)

    def log_metric(
        self,
        key: str,
        value: SupportsFloat,
        step: int | None = None,
        timestamp: int | None = None,
        *,
        dataset_name: str | None = None,
        dataset_digest: str | None = None,
        model_id: str | None = None,
    ) -> None:
        """Logs one point of a metric, in the background.

        `step` is by default one more than the last one of the key, from 0, and `timestamp`, in
        milliseconds since the epoch, is by default now.

        A server that is away delays points, and raises nothing here; `flush` tells what is not
        stored. While the buffer is full, `StreamConfig.when_full` decides: this waits, by
        default. Raises `TypeError` or `ValueError` for what is not a point: a value that is not
        a number, a step that is not a 64-bit integer.
        """
        rest = self._recorder.log(
            key, value, step, timestamp, dataset_name, dataset_digest, model_id
        )
        if rest:
            self._wait(rest)

    def log_metrics(
        self,
        metrics: Mapping[str, SupportsFloat] | Iterable[Metric],
        step: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Logs points of metrics, in the background: a value for each key, or any number of
        `Metric`.

        Values by key all get `timestamp` (milliseconds since the epoch, by default now) and
        `step` (by default one more than the last one of the key). A `Metric` has its own, and
        without a timestamp gets now. Raises what `log_metric` raises, and then logs nothing.
        """
        rest = self._recorder.log_all(metrics, step, timestamp)
        if rest:
            self._wait(rest)

    def flush(self, timeout: float | None = None) -> None:
        """Returns when every point that was logged to the run so far is stored.

        `timeout` is in seconds, by default `StreamConfig.flush_timeout`, and `math.inf` for none.

        Raises `MetricsNotStoredError`, which says what is not stored, and why. What was rejected
        or lost is told once; what is not stored in time is tried on.
        """
        self._caller._finish(self._recorder.flush(), timeout)

    @property
    def stats(self) -> StreamStats:
        """How the points of the run are doing."""
        return self._recorder.stats

    def _wait(self, points: list[NewPoint]) -> None:
        while points:
            self._recorder.room().result()
            points = self._recorder.offer(points)
