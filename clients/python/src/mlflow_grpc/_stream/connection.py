"""One stream to the server: what is sent on it, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import grpc

from mlflow_grpc import _convert as convert
from mlflow_grpc._entities import Metric
from mlflow_grpc._errors import InternalError, MlflowGrpcError, ResourceExhaustedError
from mlflow_grpc._stream.buffer import NEVER, Buffer, Message
from mlflow_grpc._stream.config import StreamConfig
from mlflow_grpc._stream.entities import UnstoredMetrics
from mlflow_grpc._stream.lane import Lane, Point
from mlflow_grpc._stream.packer import pack
from mlflow_grpc.v1 import run_service_pb2 as pb

__all__ = ["Connection", "Sequences"]

_MOST_ENTRIES = 1000


class Sequences:
    """Numbers messages. Whoever takes points holds it until the messages are in the buffer, so
    that their order is that of the points, across a change of connections too."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last = 0


class Connection:
    """Feeds one stream, in the thread that gRPC sends with."""

    def __init__(
        self,
        buffer: Buffer,
        sequences: Sequences,
        config: StreamConfig,
        on_unstored: Callable[[UnstoredMetrics], None],
    ) -> None:
        self._buffer = buffer
        self._sequences = sequences
        self._config = config
        self._on_unstored = on_unstored
        self._limits: pb.StreamLimits | None = None
        self._in_flight = 0
        """Messages sent on this stream and not acknowledged: the first of `buffer.unacked`."""
        self._burst = 0
        """How many more messages to make without gathering first: one for each lane."""
        self._quiet_until = 0.0
        self._answered = time.monotonic()
        self._ended = False
        self.progressed = False
        """Whether anything was acknowledged."""
        self.cancel: Callable[[], object] = lambda: None

    # The caller holds the buffer's lock.

    def start(self, limits: pb.StreamLimits) -> None:
        """The server takes messages."""
        self._limits = limits
        self._answered = time.monotonic()
        self._buffer.changed.notify_all()

    def acked(self, messages: int) -> None:
        """The server has acknowledged so many more messages."""
        self._in_flight -= messages
        self._answered = time.monotonic()
        self.progressed = True
        self._buffer.changed.notify_all()

    def end(self) -> None:
        """Nothing more can be sent."""
        self._ended = True
        self._buffer.changed.notify_all()

    # The caller does not.

    def messages(self) -> Iterator[bytes]:
        """Yields what to send, until the stream or the client ends."""
        while (message := self._next()) is not None:
            yield message.data

    def _next(self) -> Message | None:
        while True:
            with self._buffer.lock:
                while not (self._done() or self._may_send() or self._may_pack()):
                    self._wait()
                if self._done():
                    return None
                if self._may_send():
                    message = self._buffer.unacked[self._in_flight]
                    if not self._in_flight:
                        self._answered = time.monotonic()
                    self._in_flight += 1
                    self._buffer.mark_sent(message)
                    return message
            self._pack()

    def _done(self) -> bool:
        return self._ended or (self._buffer.closed and not self._buffer.unacked)

    def _has_room(self) -> bool:
        return self._limits is not None and self._in_flight < self._limits.max_messages_in_flight

    def _may_send(self) -> bool:
        return self._has_room() and self._in_flight < len(self._buffer.unacked)

    def _may_pack(self) -> bool:
        buffer = self._buffer
        if not (buffer.queued and self._has_room() and self._has_memory()):
            return False
        if self._burst <= 0 and (
            buffer.wants_flush
            or buffer.queued >= self._most_entries()
            or time.monotonic() >= self._quiet_until
        ):
            self._burst = len(buffer.ready)
        return self._burst > 0

    def _has_memory(self) -> bool:
        return self._buffer.in_flight < self._buffer.most

    def _most_entries(self) -> int:
        assert self._limits is not None
        return min(_MOST_ENTRIES, self._limits.max_entries_per_message, self._buffer.most)

    def _wait(self) -> None:
        """Waits for something to do, and cuts a stream that the server leaves unanswered."""
        buffer = self._buffer
        now = time.monotonic()
        pause: float | None = None
        buffer.wake_at = NEVER
        if self._limits is not None and self._has_room() and self._has_memory():
            buffer.wake_at = self._most_entries() if now < self._quiet_until else 1
            if buffer.queued:
                pause = self._quiet_until - now
        if self._in_flight or self._limits is None:
            left = self._answered + self._config.stall_timeout - now
            if left <= 0:
                self._ended = True
                self.cancel()
                return
            pause = left if pause is None else min(pause, left)
        buffer.changed.wait(pause)

    def _pack(self) -> None:
        buffer, sequences = self._buffer, self._sequences
        with sequences.lock:
            with buffer.lock:
                # A connection that has ended meanwhile leaves the points to the next one.
                if self._ended or not buffer.ready:
                    return
                assert self._limits is not None
                max_bytes = self._limits.max_message_bytes
                lane, points = buffer.take(self._most_entries())
                self._burst -= 1
                self._quiet_until = time.monotonic() + self._config.linger
            done = 0
            try:
                for data, count in pack(lane.run_id, points, sequences.last + 1, max_bytes):
                    # A message that is too large is skipped, and so is its number.
                    sequences.last += 1
                    if data is None:
                        self._refuse(lane, points[done : done + 1], _too_large(max_bytes))
                    else:
                        with buffer.lock:
                            buffer.add(Message(sequences.last, lane, data, count))
                    done += count
            except Exception as error:
                # What was logged was checked, so this is a defect; it must not stop the rest.
                self._refuse(lane, points[done:], _unpackable(error))

    def _refuse(self, lane: Lane, points: Sequence[Point], error: MlflowGrpcError) -> None:
        unstored = UnstoredMetrics(lane.run_id, tuple(map(metric_of, points)), error)
        with self._buffer.lock:
            self._buffer.reject_unsent(lane, unstored)
        self._on_unstored(unstored)
        with self._buffer.lock:
            self._buffer.tell()


def _too_large(max_bytes: int) -> MlflowGrpcError:
    return ResourceExhaustedError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"the point is larger than a message may be, {max_bytes:,} bytes",
        reason="MESSAGE_TOO_LARGE",
    )


def _unpackable(error: Exception) -> MlflowGrpcError:
    return InternalError(grpc.StatusCode.INTERNAL, f"the client could not pack it: {error!r}")


def metric_of(point: Point) -> Metric:
    """A point as the client's callers know it."""
    key, value, timestamp, step, extras = point
    dataset_name, dataset_digest, model_id = extras or ("", "", "")
    return Metric(
        key, value, timestamp, step, model_id or None, dataset_name or None, dataset_digest or None
    )


def unstored_metrics(
    message: Message, entries: pb.RejectedEntries, error: MlflowGrpcError
) -> tuple[set[int], UnstoredMetrics | None]:
    """What a rejection tells that is new: the indexes and the points; None if nothing is."""
    indexes = [index for index in entries.indexes if index not in message.rejected]
    if entries.kind != pb.EntryKind.ENTRY_KIND_METRIC or not indexes:
        return set(), None
    sent = pb.StreamMetricsRequest.FromString(message.data).metrics
    metrics = tuple(convert.metric(sent[index]) for index in indexes if index < len(sent))
    return set(indexes), UnstoredMetrics(message.lane.run_id, metrics, error)
