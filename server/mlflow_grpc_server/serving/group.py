"""The replicas of one version of a model, and the line of calls for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from mlflow_grpc_server.exceptions import (
    FailedPreconditionError,
    PredictTimeoutError,
    RequestError,
)
from mlflow_grpc_server.serving.answers import (
    GoneError,
    MovedError,
    answer_in,
    failed,
    stopped,
    too_slow,
)
from mlflow_grpc_server.serving.frames import ClosedError, Kind, pack, unpack
from mlflow_grpc_server.serving.line import Line
from mlflow_grpc_server.serving.process import Cause, Ended, Lane, ProcessSpec, WorkerProcess
from mlflow_grpc_server.serving.replica import Replica
from mlflow_grpc_server.serving.spec import ReplicaState, ReplicaView, TensorInfos

__all__ = ["Group"]

T = TypeVar("T")

# What is made as one unasked.
_SMALL_CALLS, _SMALL_BYTES, _LEAST_SECONDS_TOGETHER = 32, 16_384, 5.0

# The ends of a process that say nothing about the calls it had.
_RETRIED = (Cause.KILLED, Cause.TIMEOUT, Cause.STOPPED)


@dataclass(eq=False)
class _Job:
    """A call that waits to be made with others."""

    payload: bytes
    answer: asyncio.Future[tuple[Kind, bytes] | None]

    def settle(self, answer: tuple[Kind, bytes] | None) -> None:
        """Answer the call, unless it is answered; with None it is made alone."""
        if not self.answer.done():
            self.answer.set_result(answer)


class Group:
    """A version's replicas. Calls wait in one line for whichever replica is free first.

    `changed` is called whenever something that can be seen from outside is different.
    """

    def __init__(
        self,
        uri: str,
        spec: ProcessSpec,
        predict_timeout: float,
        most_waiting: int,
        max_batch_calls: int,
        changed: Callable[[], None],
    ) -> None:
        self.uri = uri
        self.path = spec.path
        self._spec = spec
        self._predict_timeout = predict_timeout
        self._max_batch_calls = max_batch_calls
        self._changed = changed
        self._jobs: deque[_Job] = deque()
        self._collectors = 0
        self._replicas: list[Replica] = []
        self._dropped: set[Replica] = set()
        self._line = Line(most_waiting, self._refusal)
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False
        self._retired = False
        self._suspects = asyncio.Lock()
        self._exchanges: set[asyncio.Task[Any]] = set()
        self.infos = TensorInfos()

    # Replicas.

    def scale(self, count: int) -> None:
        """Have `count` replicas: start those that lack or have failed; let those that are too many
        drain."""
        failed = [one for one in self._replicas if one.state is ReplicaState.FAILED]
        self._replicas = [one for one in self._replicas if one not in failed]
        while len(self._replicas) < count:
            self._replicas.append(Replica(self._spec, self))
        for replica in [*failed, *self._replicas[count:]]:
            self._dropped.add(replica)
            self._track(asyncio.create_task(self._drop(replica)))
        del self._replicas[count:]

    async def ready(self) -> None:
        """Return when every replica has been ready. Raises LoadError if one cannot be."""
        for replica in self._replicas:
            await asyncio.shield(replica.loaded)

    def retire(self) -> None:
        """Serve no more once those who wait are served; MovedError tells those who cannot be."""
        self._retired = True
        self._fail_the_hopeless()

    async def stop(self) -> None:
        """End the replicas; calls that wait fail."""
        self._stopped = True
        self._fail_the_hopeless()
        replicas = [*self._replicas, *self._dropped]
        await asyncio.gather(*(replica.stop() for replica in replicas))
        for task in list(self._exchanges):
            with suppress(Exception):
                await task

    async def drain(self) -> None:
        """Return when no call is waiting or running."""
        while self._in_flight:
            await self._idle.wait()

    def views(self) -> tuple[ReplicaView, ...]:
        """Return the replicas as they are."""
        return tuple(replica.view() for replica in self._replicas)

    @property
    def is_ready(self) -> bool:
        """Whether every replica takes calls."""
        return all(replica.state is ReplicaState.READY for replica in self._replicas)

    def failure(self) -> tuple[str, tuple[str, ...]]:
        """Return why the replica that failed last did, and the end of its log."""
        failed = [one for one in self._replicas if one.state is not ReplicaState.READY]
        worst = max(failed, key=lambda one: one.failures, default=None)
        return ("", ()) if worst is None else (worst.last_failure, worst.log_lines)

    @property
    def can_answer(self) -> bool:
        """Whether a replica takes calls."""
        return any(replica.state is ReplicaState.READY for replica in self._replicas)

    @property
    def has_given_up(self) -> bool:
        """Whether no replica has come back for many attempts."""
        return all(replica.has_given_up for replica in self._replicas)

    def _refusal(self) -> Exception | None:
        """Return why no call should wait for a replica, if there is a reason."""
        if self._stopped:
            return stopped()
        if self._retired and not self.can_answer:
            return MovedError()
        if self.has_given_up:
            return FailedPreconditionError("MODEL_NOT_SERVED", f"No replica: {self.failure()[0]}.")
        return None

    def _fail_the_hopeless(self) -> None:
        """Tell those who wait for a replica that none will come."""
        if (refusal := self._refusal()) is not None:
            self._line.fail_all(refusal)

    async def _drop(self, replica: Replica) -> None:
        """Let a replica end its calls, and stop it."""
        replica.draining = True
        process = replica.process
        if process is not None and replica.state is ReplicaState.READY:
            process.drain(self._line.forget(process))
            rest = asyncio.ensure_future(process.at_rest.wait())
            ends: list[asyncio.Future[Any]] = [process.ended, rest]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            rest.cancel()
        await replica.stop()
        self._dropped.discard(replica)

    def joined(self, process: WorkerProcess) -> None:
        """Take in a process that is ready."""
        self.infos = process.infos
        for lane in process.lanes:
            self._line.give_back(lane)
        self._changed()

    def left(self, process: WorkerProcess) -> None:
        """Forget a process that has ended."""
        self._line.forget(process)
        self._changed()

    def altered(self) -> None:
        """Tell that a replica is in another state."""
        self._fail_the_hopeless()
        self._changed()

    # Calls.

    async def predict(self, payload: bytes) -> bytes:
        """Return the model's answer. A call whose process ends is tried once more, unless it may
        have been what ended it. Raises MovedError if it is another version's to answer."""
        with self._counted():
            if self._goes_together(payload) and (answer := await self._together(payload)):
                return answer_in(answer)
            try:
                return await self._attempt(payload)
            except GoneError as gone:
                if not self._may_be_innocent(gone.ended):
                    raise failed(gone.ended) from gone
                is_suspect = gone.ended.cause not in _RETRIED
            again = self._attempt_of_suspect if is_suspect else self._attempt
            try:
                return await again(payload)
            except GoneError as gone:
                raise failed(gone.ended) from gone

    def _goes_together(self, payload: bytes) -> bool:
        """Whether a call is to be made with others that wait."""
        if self._max_batch_calls or not self.infos.rows_are_independent:
            return self._max_batch_calls > 1
        # Together, small calls take no longer than a large one may.
        return (
            not self._line.has_free
            and len(payload) <= _SMALL_BYTES
            and self._predict_timeout >= _LEAST_SECONDS_TOGETHER
        )

    async def _together(self, payload: bytes) -> tuple[Kind, bytes] | None:
        """Return the answer to a call made with others; None if it has to be made alone."""
        self._line.check_room(len(payload), len(self._jobs))
        job = _Job(payload, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._line.waiting_bytes += len(payload)
        if self._collectors < self._lanes:
            self._collectors += 1
            self._track(asyncio.create_task(self._collect()))
        try:
            return await job.answer
        finally:
            self._line.waiting_bytes -= len(payload)
            with suppress(ValueError):
                self._jobs.remove(job)

    async def _collect(self) -> None:
        """Make the calls that wait, as many at a time as may be, whenever a lane is free."""
        most = self._max_batch_calls or _SMALL_CALLS
        try:
            while self._jobs:
                lane = await self._line.take(0)
                waiting = [self._jobs.popleft() for _ in range(min(len(self._jobs), most))]
                try:
                    await self._ask_together(lane, waiting)
                finally:
                    self._line.give_back(lane)
                    for job in waiting:
                        job.settle(None)
        finally:
            self._collectors -= 1
            if not self._collectors:
                # Alone, they find out themselves why there is no lane.
                while self._jobs:
                    self._jobs.popleft().settle(None)

    async def _ask_together(self, lane: Lane, waiting: list[_Job]) -> None:
        jobs = [job for job in waiting if not job.answer.done()]
        if not jobs:
            return
        with suppress(GoneError, PredictTimeoutError):
            packed = pack(job.payload for job in jobs)
            kind, payload = await self._timed(lane, Kind.PREDICT_MANY, packed)
            lane.process.has_answered = True
            if kind is Kind.ANSWER_MANY:
                for job, answer in zip(jobs, unpack(payload), strict=True):
                    job.settle((Kind(answer[0]), answer[1:]))

    @property
    def _lanes(self) -> int:
        return max(1, len(self._replicas) * self._spec.concurrency)

    async def _attempt(self, payload: bytes) -> bytes:
        return answer_in(await self._line.call(payload, self._predict_timeout))

    def _may_be_innocent(self, ended: Ended) -> bool:
        """Whether a call may not be what ended its process."""
        return ended.cause in _RETRIED or self._spec.concurrency > 1

    async def _attempt_of_suspect(self, payload: bytes) -> bytes:
        """Try a call of which only one among several has ended their process.

        One at a time: so none of the others is in the process that the guilty one ends now.
        """
        async with self._suspects:
            return await self._attempt(payload)

    async def _timed(self, lane: Lane, kind: Kind, payload: bytes = b"") -> tuple[Kind, bytes]:
        """Ask, and end a process that takes too long."""
        seconds = self._predict_timeout
        mine: list[str] = []

        def expire() -> None:
            message = f"a prediction took longer than {seconds:g} s"
            mine.append(message)
            lane.process.kill(Cause.TIMEOUT, message)

        timer = asyncio.get_running_loop().call_later(seconds, expire)
        try:
            return await lane.ask(kind, payload)
        except ClosedError:
            ended = await asyncio.shield(lane.process.ended)
            if mine and ended.cause == Cause.TIMEOUT:
                raise too_slow(seconds) from None
            raise GoneError(ended) from None
        finally:
            timer.cancel()

    async def stream(self, payload: bytes) -> AsyncGenerator[bytes, None]:
        """Yield what the model yields, each when the one before has been taken.

        A stream whose process ends before it yields is tried once more, unless it may have been
        what ended it. Raises MovedError as `predict` does.
        """
        with self._counted():
            may_try_again = True
            while True:
                try:
                    async with aclosing(self._stream_once(payload)) as items:
                        async for item in items:
                            may_try_again = False
                            yield item
                    return
                except GoneError as gone:
                    if not may_try_again or not self._may_be_innocent(gone.ended):
                        raise failed(gone.ended) from gone
                    may_try_again = False

    async def _stream_once(self, payload: bytes) -> AsyncGenerator[bytes, None]:
        lane = await self._line.take(len(payload))
        open_stream = True
        step: asyncio.Task[tuple[Kind, bytes]] | None = None
        try:
            lane.tell(Kind.STREAM, payload)
            while True:
                step = self._track(asyncio.create_task(self._timed(lane, Kind.NEXT)))
                kind, item = await asyncio.shield(step)
                if kind is not Kind.ITEM:
                    open_stream = False
                    answer_in((kind, item))
                    return
                yield item
        except ClosedError as error:
            open_stream = False
            raise GoneError(await asyncio.shield(lane.process.ended)) from error
        except (GoneError, RequestError):
            open_stream = False
            raise
        finally:
            if open_stream:
                self._track(asyncio.create_task(self._cancel(lane, step)))
            else:
                self._line.give_back(lane)

    async def _cancel(self, lane: Lane, step: asyncio.Task[tuple[Kind, bytes]] | None) -> None:
        """Bring a stream that nobody reads any more to its end, after the step it is at."""
        with suppress(GoneError, PredictTimeoutError):
            if step is None or (await step)[0] is Kind.ITEM:
                await self._timed(lane, Kind.CANCEL)
        self._line.give_back(lane)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    def _track(self, task: asyncio.Task[T]) -> asyncio.Task[T]:
        """Keep a task that outlives its caller, and what it raises from being reported."""
        self._exchanges.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._exchanges.discard(task)
        if not task.cancelled():
            task.exception()
