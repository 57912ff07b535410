"""A StreamMetrics call that a test drives message by message."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import grpc

from mlflow_grpc.v1 import resources_pb2, run_service_pb2, run_service_pb2_grpc

__all__ = ["MetricStream", "points"]

_SECONDS = 60


def points(first: int, number: int, key: str = "loss") -> list[resources_pb2.Metric]:
    """Points with steps from `first`, each with a value and a time of its own."""
    return [
        resources_pb2.Metric(key=key, value=i / 7, timestamp_ms=1_700_000_000_000 + i, step=i)
        for i in range(first, first + number)
    ]


class MetricStream:
    """One stream, whose first response, the limits, is in `limits`."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._requests: queue.Queue[Any] = queue.Queue()
        stub = run_service_pb2_grpc.RunServiceStub(channel)
        self.call = stub.StreamMetrics(self._sent(), timeout=_SECONDS)
        self.limits = next(self.call).limits

    def _sent(self) -> Iterator[Any]:
        while (request := self._requests.get()) is not None:
            yield request

    def send(
        self,
        sequence: int,
        run_id: str,
        metrics: Sequence[resources_pb2.Metric] = (),
        params: Sequence[resources_pb2.Param] = (),
        tags: Sequence[resources_pb2.Tag] = (),
    ) -> None:
        """Send a message."""
        self._requests.put(
            run_service_pb2.StreamMetricsRequest(
                sequence=sequence, run_id=run_id, metrics=metrics, params=params, tags=tags
            )
        )

    def end(self) -> None:
        """Send nothing more."""
        self._requests.put(None)

    def read(self) -> run_service_pb2.StreamMetricsResponse:
        """Return the next response."""
        return next(self.call)

    def acked(self, sequence: int) -> list[run_service_pb2.StreamRejection]:
        """Read up to the ack of `sequence`; return the rejections on the way."""
        rejections = []
        while True:
            response = self.read()
            if response.HasField("rejection"):
                rejections.append(response.rejection)
            elif response.ack.sequence >= sequence:
                return rejections

    def __enter__(self) -> MetricStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        self.call.cancel()
