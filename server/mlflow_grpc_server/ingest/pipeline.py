"""Group commit: entries that wait at the same time are committed together."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mlflow_grpc_server.exceptions import OverloadedError, StoreUnavailableError
from mlflow_grpc_server.ingest.entries import Entries, Outcome, Writer

__all__ = ["Ingest"]

_MOST_ENTRIES_PER_COMMIT = 10_000
_MOST_WAITING_BYTES = 64 * 1024 * 1024
# What an entry takes in memory beside its text.
_BYTES_PER_ENTRY = 250
_CROWD_RUNS = 16
_GATHER_SECONDS = 0.02
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0


@dataclass(slots=True)
class _Waiting:
    """Entries on their way, and who waits for them."""

    entries: Entries
    bytes: int
    give_up: float
    """Until when, in the loop's time, they wait for a store that is away."""
    future: asyncio.Future[Outcome]

    def succeed(self, outcome: Outcome) -> None:
        """Tell whoever still waits what became of the entries."""
        if not self.future.done():
            self.future.set_result(outcome)

    def fail(self, error: Exception) -> None:
        """Tell whoever still waits why the entries are not stored."""
        if not self.future.done():
            self.future.set_exception(error)
            # Nobody may be left who waits, and that is no fault.
            self.future.exception()


class Ingest:
    """Stores entries, in order for each run, with as few commits as the arrivals allow.

    Each run has a lane. A writer takes the heads of all lanes that no other writer holds, up to
    10,000 entries, and commits them together; what arrives meanwhile waits for the next commit.
    Its methods run on one event loop; the commits run in threads.
    """

    def __init__(
        self,
        writer: Writer,
        writers: int,
        retry_seconds: float,
        on_commit: Callable[[Iterable[str]], None],
    ) -> None:
        """`retry_seconds`: how long patient entries wait for a store that is away.

        `on_commit` is told the runs of every commit.
        """
        self._on_commit = on_commit
        self._writer = writer
        self._retry_seconds = retry_seconds
        self._executor = ThreadPoolExecutor(writers, thread_name_prefix="ingest")
        self._lanes: dict[str, deque[_Waiting]] = {}
        self._ready: deque[str] = deque()
        self._waiting_bytes = 0
        self._room = asyncio.Condition()
        self._free_writers = writers
        self._commits: set[asyncio.Task[None]] = set()
        self._closing = False
        self._crowded = False
        """Whether the last commit was for many runs."""

    async def log(self, entries: Entries, size: int) -> None:
        """Store entries that came in one call of `size` bytes, or raise why not.

        Raises what refused them, OverloadedError if too much waits already, and
        StoreUnavailableError if the store is away.
        """
        if self._waiting_bytes > _MOST_WAITING_BYTES:
            raise OverloadedError(sum(map(len, self._lanes.values())))
        outcome = await self._submit(entries, size, patient=False)
        if outcome.refused is not None:
            raise outcome.refused
        for rejected in outcome.rejected:
            raise rejected.error

    async def wait_for_room(self) -> None:
        """Return when more entries of a stream may be submitted."""
        if self._waiting_bytes > _MOST_WAITING_BYTES:
            async with self._room:
                await self._room.wait_for(lambda: self._waiting_bytes <= _MOST_WAITING_BYTES)

    def submit(self, entries: Entries, size: int) -> asyncio.Future[Outcome]:
        """Take entries of a stream that came in `size` bytes; the future tells the rest.

        It raises StoreUnavailableError if the store stays away for longer than they may wait.
        """
        return self._submit(entries, size, patient=True)

    async def close(self) -> None:
        """Return when everything that was taken is committed or failed.

        Nothing waits for a store that is away any more: whoever it was for is gone.
        """
        self._closing = True
        while self._commits:
            await asyncio.wait(self._commits)
        await asyncio.to_thread(self._executor.shutdown)

    def _submit(self, entries: Entries, size: int, *, patient: bool) -> asyncio.Future[Outcome]:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if not entries.size:
            future.set_result(Outcome())
            return future
        give_up = asyncio.get_running_loop().time() + (self._retry_seconds if patient else 0)
        waiting = _Waiting(entries, size + entries.size * _BYTES_PER_ENTRY, give_up, future)
        self._waiting_bytes += waiting.bytes
        lane = self._lanes.get(entries.run_id)
        if lane is None:
            self._lanes[entries.run_id] = deque([waiting])
            self._ready.append(entries.run_id)
            self._start_commits()
        else:
            # The lane is ready, or held by a writer that makes it ready again.
            lane.append(waiting)
        return future

    def _start_commits(self) -> None:
        while self._ready and self._free_writers:
            self._free_writers -= 1
            task = asyncio.create_task(self._commit_next())
            self._commits.add(task)
            task.add_done_callback(self._commits.discard)

    async def _commit_next(self) -> None:
        # Whoever is about to arrive comes along: in this turn of the loop, or soon if very many
        # runs log a little each, where the commits would cost more than what they store.
        await asyncio.sleep(_GATHER_SECONDS if self._crowded else 0)
        group = list(self._take())
        self._crowded = len({one.entries.run_id for one in group}) >= _CROWD_RUNS
        try:
            await self._commit(group)
        finally:
            self._free_writers += 1
            self._give_back(group)
            self._start_commits()
            async with self._room:
                self._room.notify_all()

    def _take(self) -> Iterator[_Waiting]:
        taken = 0
        while self._ready and taken < _MOST_ENTRIES_PER_COMMIT:
            lane = self._lanes[self._ready.popleft()]
            # The lane itself stays, as the sign that a writer holds the run.
            while lane and taken < _MOST_ENTRIES_PER_COMMIT:
                waiting = lane.popleft()
                taken += waiting.entries.size
                yield waiting

    def _give_back(self, group: list[_Waiting]) -> None:
        for run_id in dict.fromkeys(one.entries.run_id for one in group):
            if self._lanes[run_id]:
                self._ready.append(run_id)
            else:
                del self._lanes[run_id]
        self._waiting_bytes -= sum(one.bytes for one in group)

    async def _commit(self, group: list[_Waiting]) -> None:
        """Commit a group, and each half of it if the store does not take it whole."""
        try:
            await self._write(group)
        except Exception as error:
            if len(group) == 1:
                group[0].fail(error)
                return
            # One of them is at fault, and the others must not suffer for it.
            half = len(group) // 2
            await self._commit(group[:half])
            await self._commit(group[half:])

    async def _write(self, group: list[_Waiting]) -> None:
        """Commit a group; while the store is away, those of it that are patient stay and wait."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_SECONDS
        while group := [one for one in group if not one.future.done()]:
            entries = [one.entries for one in group]
            try:
                outcomes = await loop.run_in_executor(self._executor, self._writer.write, entries)
            except StoreUnavailableError as error:
                self._fail_late(group, error)
                # Those that stand behind must not wait for the patience of these.
                for lane in self._lanes.values():
                    self._fail_late(lane, error)
                if not self._closing:
                    await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                for one, outcome in zip(group, outcomes, strict=True):
                    one.succeed(outcome)
                self._on_commit({one.run_id for one in entries})

    def _fail_late(self, waiting: Iterable[_Waiting], error: StoreUnavailableError) -> None:
        """Fail what has waited for the store as long as it may, and let go of what it holds."""
        now = asyncio.get_running_loop().time()
        for one in waiting:
            if self._closing or one.give_up <= now:
                one.fail(error)
                self._waiting_bytes -= one.bytes
                one.bytes = 0
                one.entries = Entries(one.entries.run_id)
