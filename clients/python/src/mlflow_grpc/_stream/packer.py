"""Points to messages, under the server's limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlflow_grpc._stream.lane import Point
from mlflow_grpc.v1 import run_service_pb2 as pb

__all__ = ["pack"]


def pack(
    run_id: str, points: Sequence[Point], sequence: int, max_bytes: int
) -> Iterator[tuple[bytes | None, int]]:
    """Yields messages with the number of points in each, in order; numbered from `sequence`.

    Almost always it is one message; it is split when it is larger than `max_bytes`. None stands
    for the message of a single point that is larger than that.
    """
    request = pb.StreamMetricsRequest(sequence=sequence, run_id=run_id)
    add = request.metrics.add
    for key, value, timestamp, step, extras in points:
        metric = add(key=key, value=value, timestamp_ms=timestamp, step=step)
        if extras is not None:
            metric.dataset_name, metric.dataset_digest, metric.model_id = extras
    data = request.SerializeToString()
    if len(data) <= max_bytes:
        yield data, len(points)
    elif len(points) == 1:
        yield None, 1
    else:
        middle = len(points) // 2
        for half in (points[:middle], points[middle:]):
            for part, count in pack(run_id, half, sequence, max_bytes):
                yield part, count
                sequence += 1
