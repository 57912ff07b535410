"""The points that one run has logged."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

from mlflow_grpc._stream.entities import UnstoredMetrics

__all__ = ["Counts", "Extras", "Lane", "Point"]

Extras: TypeAlias = tuple[str, str, str]
"""The dataset's name and digest and the model's id; empty where not given."""

Point: TypeAlias = tuple[str, float, int, int, "Extras | None"]
"""Key, value, timestamp in ms, step and the rarely used rest. A plain tuple: it is made in the
training loop; messages are made of it in the background."""

# What a flush can name one by one. The counts are always right.
_MOST_REJECTIONS = 100


@dataclass(slots=True)
class Counts:
    """How many points, ever."""

    sent: int = 0
    acked: int = 0
    rejected: int = 0
    dropped: int = 0


@dataclass(slots=True, eq=False)
class Lane:
    """The points of one run, first in, first out: those that wait and those in flight.

    Positions count the points of the run from 0, in the order in which they were logged. Guarded
    by the lock of the buffer that the lane belongs to.
    """

    run_id: str
    waiting: deque[Point] = field(default_factory=deque)
    head: int = 0
    """The position of the first point that waits."""
    steps: dict[str, int] = field(default_factory=dict)
    """The next step of each key."""
    counts: Counts = field(default_factory=Counts)
    rejections: list[UnstoredMetrics] = field(default_factory=list)
    """Those that no flush has told of yet; of very many, the first."""
    untold_rejected: int = 0
    untold_dropped: int = 0
    _flying: deque[list[int]] = field(default_factory=deque)
    """Position and length of each stretch of points in flight."""

    @property
    def end(self) -> int:
        """The position behind the last point that was logged."""
        return self.head + len(self.waiting)

    @property
    def settled(self) -> int:
        """The position before which every point has met its fate."""
        return self._flying[0][0] if self._flying else self.head

    @property
    def in_flight(self) -> int:
        """How many points are in flight."""
        return sum(length for _, length in self._flying)

    def take(self, most: int) -> list[Point]:
        """Points that wait, at most so many; they are in flight now."""
        count = min(len(self.waiting), most)
        points = [self.waiting.popleft() for _ in range(count)]
        self._flying.append([self.head, count])
        self.head += count
        return points

    def drop_waiting(self, count: int) -> None:
        """Gives up the points that have waited longest."""
        for _ in range(count):
            self.waiting.popleft()
        self.head += count
        self.counts.dropped += count

    def land(self, count: int) -> None:
        """The first points in flight, so many of them, have met their fate."""
        while count:
            stretch = self._flying[0]
            part = min(count, stretch[1])
            stretch[0] += part
            stretch[1] -= part
            count -= part
            if not stretch[1]:
                self._flying.popleft()

    def reject(self, unstored: UnstoredMetrics) -> None:
        """Notes points that will never be stored."""
        count = len(unstored.metrics)
        self.counts.rejected += count
        self.untold_rejected += count
        if len(self.rejections) < _MOST_REJECTIONS:
            self.rejections.append(unstored)

    def give_up(self) -> int:
        """Drops every point that is not settled, and returns how many those were."""
        count = self.end - self.settled
        self.counts.dropped += count
        self.untold_dropped += count
        self.head = self.end
        self.waiting.clear()
        self._flying.clear()
        return count
