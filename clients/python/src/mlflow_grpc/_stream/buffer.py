"""What waits to be sent and what waits to be acknowledged, between threads."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

from mlflow_grpc._errors import MlflowGrpcError
from mlflow_grpc._stream.config import WhenFull
from mlflow_grpc._stream.entities import StreamStats, UnstoredMetrics
from mlflow_grpc._stream.errors import MetricsNotStoredError, buffer_full, not_stored
from mlflow_grpc._stream.lane import Counts, Extras, Lane, Point

__all__ = ["NEVER", "Buffer", "Flush", "Message", "NewPoint"]

NewPoint: TypeAlias = tuple[str, float, int, "int | None", "Extras | None"]
"""A `Point` that may have no step yet."""

NEVER = sys.maxsize


@dataclass(slots=True, eq=False)
class Message:
    """A message that is not acknowledged yet, as it is sent, and sent again."""

    sequence: int
    lane: Lane
    data: bytes
    count: int
    rejected: set[int] = field(default_factory=set)
    """The indexes of the points that the server rejected."""
    was_sent: bool = False


class Flush:
    """Waits until the points that some lanes have now are settled."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = lanes
        self.targets = {lane: lane.end for lane in lanes if lane.settled < lane.end}
        self.future: Future[None] = Future()

    @property
    def waiting(self) -> int:
        """How many of the points are not settled."""
        return sum(max(0, target - lane.settled) for lane, target in self.targets.items())

    def finish(self, last_error: MlflowGrpcError | None, seconds: float | None = None) -> None:
        """Completes the future; with an exception, if a point is not stored."""
        if self.future.set_running_or_notify_cancel():
            error = self._take_error(last_error, seconds)
            if error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(error)

    def _take_error(
        self, last_error: MlflowGrpcError | None, seconds: float | None
    ) -> MetricsNotStoredError | None:
        dropped = rejected = 0
        rejections: list[UnstoredMetrics] = []
        for lane in self.lanes:
            dropped += lane.untold_dropped
            rejected += lane.untold_rejected
            rejections += lane.rejections
            lane.untold_dropped = lane.untold_rejected = 0
            lane.rejections = []
        waiting = self.waiting
        if not (waiting or dropped or rejected):
            return None
        return not_stored(waiting, dropped, rejected, rejections, last_error, seconds)


class Buffer:
    """The points of all runs of a client, up to a number of them, and the messages in flight.

    Every method but `offer` expects the caller to hold `lock`. `changed` is notified when the
    background threads may have something to do.
    """

    def __init__(self, most: int, when_full: WhenFull) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.most = most
        self.when_full = when_full
        self.queued = 0
        """Points that wait."""
        self.in_flight = 0
        """Points taken and not settled."""
        self.wake_at = 1
        """How many waiting points notify `changed`: one when the sender is idle, many while it
        gathers."""
        self.ready: deque[Lane] = deque()
        """The lanes with points that wait, each once."""
        self.unacked: deque[Message] = deque()
        self.failure: MlflowGrpcError | None = None
        """Why the stream has failed for good."""
        self.last_error: MlflowGrpcError | None = None
        """Why the stream was cut the last time, unless it is up again."""
        self.sealed = False
        """Whether nothing more is taken."""
        self.closed = False
        """Whether nothing more is waited for."""
        self.reconnects = 0
        self._counts = Counts()
        self._lanes: dict[Lane, None] = {}
        self._flushes: list[Flush] = []
        self._settled: list[Flush] = []
        """Flushes that have nothing to wait for any more, and are not told yet."""
        self._room: list[Future[None]] = []

    def offer(self, lane: Lane, points: Sequence[NewPoint]) -> int:
        """Logs the first of `points`, and returns how many; fewer than all if it must wait.

        Raises BufferFullError if that is what to do when the buffer is full, and RuntimeError if
        it is closed.
        """
        with self.lock:
            if self.sealed:
                raise RuntimeError("the client is closed")
            count = len(points)
            if self.failure is not None:
                lane.untold_dropped += count
                for counts in (self._counts, lane.counts):
                    counts.dropped += count
                self._lanes[lane] = None
                return count
            room = self.most - self.queued
            if count > room and self.when_full != "drop_oldest":
                if self.when_full == "raise":
                    raise buffer_full(self.queued)
                count = room
                points = points[:count]
            if not count:
                return 0
            if not lane.waiting:
                self.ready.append(lane)
                self._lanes[lane] = None
            steps = lane.steps
            for key, value, timestamp, step, extras in points:
                if step is None:
                    step = steps.get(key, 0)
                steps[key] = step + 1
                lane.waiting.append((key, value, timestamp, step, extras))
            self.queued += count
            if self.queued > self.most:
                self._drop_oldest(self.queued - self.most)
                self.tell()
            if self.queued >= self.wake_at:
                self.wake_at = NEVER
                self.changed.notify_all()
            return count

    def room(self) -> Future[None]:
        """Completes when `offer` may take more. Takes the lock."""
        future: Future[None] = Future()
        with self.lock:
            if self.queued < self.most or self.failure is not None or self.closed:
                future.set_result(None)
            else:
                self._room.append(future)
        return future

    def take(self, most: int) -> tuple[Lane, list[Point]]:
        """Points of the lane whose turn it is; they are in flight from now on."""
        lane = self.ready.popleft()
        points = lane.take(most)
        self.queued -= len(points)
        self.in_flight += len(points)
        if lane.waiting:
            self.ready.append(lane)
        self._let_in()
        return lane, points

    def add(self, message: Message) -> None:
        """Keeps a message until it is acknowledged."""
        if self.failure is None and not self.closed:
            self.unacked.append(message)

    def mark_sent(self, message: Message) -> None:
        """Counts the points of a message that is being sent."""
        if not message.was_sent:
            message.was_sent = True
            for counts in (self._counts, message.lane.counts):
                counts.sent += message.count

    def reject(self, message: Message, indexes: set[int], unstored: UnstoredMetrics) -> None:
        """Notes points of a message that will never be stored, each once."""
        message.rejected |= indexes
        message.lane.reject(unstored)
        self._counts.rejected += len(unstored.metrics)

    def reject_unsent(self, lane: Lane, unstored: UnstoredMetrics) -> None:
        """Settles points that were taken and cannot be sent."""
        lane.reject(unstored)
        self._counts.rejected += len(unstored.metrics)
        self._land(lane, len(unstored.metrics))

    def ack(self, sequence: int) -> tuple[int, dict[Lane, int]]:
        """Settles the messages up to one; returns how many, and what is stored by lane."""
        messages = 0
        stored: dict[Lane, int] = {}
        while self.unacked and self.unacked[0].sequence <= sequence:
            message = self.unacked.popleft()
            messages += 1
            count = message.count - len(message.rejected)
            for counts in (self._counts, message.lane.counts):
                counts.acked += count
            if count:
                stored[message.lane] = stored.get(message.lane, 0) + count
            self._land(message.lane, message.count)
        return messages, stored

    def fail(self, error: MlflowGrpcError) -> None:
        """Gives up every point, and those to come."""
        self.failure = error
        for lane in self._lanes:
            self._counts.dropped += lane.give_up()
        self.ready.clear()
        self.unacked.clear()
        self.queued = self.in_flight = 0
        self._let_in()
        self._settle_flushes()

    def tell(self) -> None:
        """Lets those go whose flushes are settled: after the callbacks for their points."""
        for flush in self._settled:
            flush.finish(self.failure or self.last_error)
        self._settled.clear()

    def close(self) -> None:
        """Lets go of everyone who waits."""
        self.sealed = self.closed = True
        self._let_in()
        self._settle_flushes()
        self.tell()
        self.changed.notify_all()

    def flush(self, lanes: Sequence[Lane] | None) -> Flush:
        """Waits for the points of some lanes, or of all. `wants_flush` until it is finished."""
        flush = Flush(tuple(self._lanes) if lanes is None else lanes)
        if flush.targets and not self.closed:
            self._flushes.append(flush)
            self.changed.notify_all()
        else:
            flush.finish(self.failure or self.last_error)
        return flush

    def give_up(self, flush: Flush, seconds: float) -> None:
        """Finishes a flush that has waited long enough."""
        if flush in self._flushes:
            self._flushes.remove(flush)
            flush.finish(self.failure or self.last_error, seconds)
        # Else it was settled at the last moment, and is about to be told.

    @property
    def wants_flush(self) -> bool:
        """Whether someone waits for everything to be sent at once."""
        return bool(self._flushes)

    @property
    def outstanding(self) -> int:
        """Points that are not settled."""
        return self.queued + self.in_flight

    def stats(self, lane: Lane | None = None) -> StreamStats:
        """The counters of a lane, or of all."""
        counts = self._counts if lane is None else lane.counts
        return StreamStats(
            queued=self.queued if lane is None else len(lane.waiting),
            in_flight=self.in_flight if lane is None else lane.in_flight,
            sent=counts.sent,
            acked=counts.acked,
            rejected=counts.rejected,
            dropped=counts.dropped,
            reconnects=self.reconnects,
        )

    def _drop_oldest(self, count: int) -> None:
        self.queued -= count
        self._counts.dropped += count
        while count:
            lane = self.ready[0]
            part = min(count, len(lane.waiting))
            lane.drop_waiting(part)
            count -= part
            if not lane.waiting:
                self.ready.popleft()
            self._after_settling(lane)

    def _land(self, lane: Lane, count: int) -> None:
        if self.failure is not None:
            return
        self.in_flight -= count
        lane.land(count)
        self._after_settling(lane)

    def _after_settling(self, lane: Lane) -> None:
        if lane.settled == lane.end and not (lane.untold_rejected or lane.untold_dropped):
            self._lanes.pop(lane, None)
        for flush in tuple(self._flushes):
            target = flush.targets.get(lane)
            if target is not None and lane.settled >= target:
                del flush.targets[lane]
                if not flush.targets:
                    self._flushes.remove(flush)
                    self._settled.append(flush)

    def _settle_flushes(self) -> None:
        self._settled += self._flushes
        self._flushes.clear()

    def _let_in(self) -> None:
        for future in self._room:
            if future.set_running_or_notify_cancel():
                future.set_result(None)
        self._room.clear()
