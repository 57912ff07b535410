"""The lanes of a version's replicas, and the line of those who wait for one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from mlflow_grpc_server.exceptions import QueueFullError
from mlflow_grpc_server.serving.answers import GoneError, too_slow
from mlflow_grpc_server.serving.frames import ClosedError, Kind
from mlflow_grpc_server.serving.process import Cause, Lane, WorkerProcess

__all__ = ["Call", "Line", "check_room"]

_MOST_WAITING_BYTES = 256 * 2**20


def check_room(size: int, waiting: int, waiting_bytes: int, most_waiting: int) -> None:
    """Raise QueueFullError unless a call of `size` bytes may wait beside those that do."""
    if waiting >= most_waiting or waiting_bytes + size > _MOST_WAITING_BYTES:
        raise QueueFullError(
            "TOO_MANY_CALLS_WAITING",
            f"{waiting} calls are waiting for the model already.",
            {"waiting": str(waiting)},
        )


class Waiter(Protocol):
    """Who waits for a lane; `size` is what it keeps in memory meanwhile, in bytes."""

    size: int

    def start(self, lane: Lane) -> bool:
        """Take a lane; False if it is not wanted any more."""

    def fail(self, error: Exception) -> None:
        """Wait no more."""


class _Taker:
    """Waits for a lane to do with as it likes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lane: asyncio.Future[Lane] = asyncio.get_running_loop().create_future()

    def start(self, lane: Lane) -> bool:
        if self.lane.done():
            return False
        self.lane.set_result(lane)
        return True

    def fail(self, error: Exception) -> None:
        if not self.lane.done():
            self.lane.set_exception(error)


class Call:
    """One prediction. It goes to a lane the moment that is free, and gives it back likewise.

    No task has to run in between, so that a worker has its next call as soon as may be. A caller
    that gives up `answer` leaves the lane to the worker until that has answered.
    """

    def __init__(self, line: Line, payload: bytes, seconds: float) -> None:
        self._line = line
        self._payload = payload
        self._seconds = seconds
        self._lane: Lane | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False
        self.size = len(payload)
        loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[tuple[Kind, bytes]] = loop.create_future()

    def start(self, lane: Lane) -> bool:
        """Ask the model, unless the caller has gone."""
        if self.answer.done():
            return False
        self._lane = lane
        lane.call(self._payload, self._answered)
        self._payload = b""
        self._timer = self.answer.get_loop().call_later(self._seconds, self._expire)
        return True

    def fail(self, error: Exception) -> None:
        """Tell the caller of an error."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def _answered(self, frame: tuple[Kind, bytes] | None) -> None:
        lane, timer = self._lane, self._timer
        assert lane is not None
        if timer is not None:
            timer.cancel()
        if frame is None:
            lane.process.ended.add_done_callback(lambda _: self._lost(lane.process))
            return
        lane.process.has_answered = True
        if not self.answer.done():
            self.answer.set_result(frame)
        self._line.give_back(lane)

    def _lost(self, process: WorkerProcess) -> None:
        ended = process.ended.result()
        late = self._is_late and ended.cause == Cause.TIMEOUT
        if not self.answer.done():
            self.answer.set_exception(too_slow(self._seconds) if late else GoneError(ended))

    def _expire(self) -> None:
        assert self._lane is not None
        self._is_late = True
        self._lane.process.kill(Cause.TIMEOUT, f"a prediction took longer than {self._seconds:g} s")


class Line:
    """Gives each lane that is free to whoever has waited longest.

    `refusal` says why nobody should begin to wait, if there is a reason.
    """

    def __init__(self, most_waiting: int, refusal: Callable[[], Exception | None]) -> None:
        self._most_waiting = most_waiting
        self._refusal = refusal
        self._free: deque[Lane] = deque()
        self._waiting: deque[Waiter] = deque()
        self.waiting_bytes = 0

    @property
    def has_free(self) -> bool:
        """Whether a lane is free."""
        return bool(self._free)

    async def take(self, size: int) -> Lane:
        """Return a lane, to be given back."""
        taker = _Taker(size)
        self._queue(taker)
        try:
            return await taker.lane
        except asyncio.CancelledError:
            if taker.lane.done() and not taker.lane.cancelled() and not taker.lane.exception():
                self.give_back(taker.lane.result())
            raise
        finally:
            self._leave(taker)

    async def call(self, payload: bytes, seconds: float) -> tuple[Kind, bytes]:
        """Return the frame that answers a prediction.

        Raises GoneError if the process ends before, PredictTimeoutError if that is for the time.
        """
        call = Call(self, payload, seconds)
        self._queue(call)
        try:
            return await call.answer
        finally:
            self._leave(call)

    def give_back(self, lane: Lane) -> None:
        """Have a lane that is free: a new one, or one whose call has ended."""
        process = lane.process
        if process.ended.done():
            return
        if process.draining:
            process.rest()
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            self.waiting_bytes -= waiter.size
            try:
                if waiter.start(lane):
                    return
            except ClosedError:
                self.waiting_bytes += waiter.size
                self._waiting.appendleft(waiter)
                return
        self._free.append(lane)

    def forget(self, process: WorkerProcess) -> int:
        """Take the lanes of a process out; return how many were free."""
        before = len(self._free)
        self._free = deque(lane for lane in self._free if lane.process is not process)
        return before - len(self._free)

    def fail_all(self, error: Exception) -> None:
        """Fail all who wait."""
        for waiter in self._waiting:
            waiter.fail(error)

    def check_room(self, size: int, waiting: int) -> None:
        """Raise QueueFullError unless one more may wait beside `waiting` others."""
        check_room(size, waiting, self.waiting_bytes, self._most_waiting)

    def _queue(self, waiter: Waiter) -> None:
        """Start at once, or wait."""
        while self._free:
            lane = self._free.popleft()
            if lane.process.ended.done():
                continue
            with suppress(ClosedError):
                waiter.start(lane)
                return
        if (refusal := self._refusal()) is not None:
            raise refusal
        self.check_room(waiter.size, len(self._waiting))
        self._waiting.append(waiter)
        self.waiting_bytes += waiter.size

    def _leave(self, waiter: Waiter) -> None:
        """Forget one who waits no more, whatever the reason."""
        if self._waiting:
            with suppress(ValueError):
                self._waiting.remove(waiter)
                self.waiting_bytes -= waiter.size
