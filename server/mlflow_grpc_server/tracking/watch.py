"""Watches a run: what it is, every point as it is committed, and its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mlflow.entities import Run

from mlflow_grpc_server.exceptions import (
    OverloadedError,
    ServerStoppingError,
    UnimplementedError,
)
from mlflow_grpc_server.ingest.entries import MetricRow
from mlflow_grpc_server.ingest.signals import CommitSignals
from mlflow_grpc_server.tracking.commits import CommitLog, Committed, Cursor
from mlflow_grpc_server.tracking.pool import BlockingPool
from mlflow_grpc_server.tracking.tracking import Tracking

__all__ = ["Ended", "Event", "Points", "RunWatch", "Snapshot", "Watcher", "pause_for"]

_POINTS_PER_MESSAGE = 1000
# How soon a commit of another process is seen; those of this one are told at once.
_POLL_SECONDS = 1.0
_SHORTEST_PAUSE_SECONDS = 0.05
# A watcher spends at most a fifth of its time in the store, unless reads take very long: what is
# committed must be told in the end.
_PAUSE_PER_READ = 4.0
_LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class RunWatch:
    """What to watch: the points of `keys`, or all; after `cursor`, if given."""

    run_id: str
    keys: Sequence[str]
    include_history: bool
    cursor: Cursor | None


@dataclass(frozen=True)
class Snapshot:
    """The run as it is."""

    run: Run
    cursor: Cursor


@dataclass(frozen=True)
class Points:
    """Points committed since."""

    points: Sequence[MetricRow]
    cursor: Cursor


@dataclass(frozen=True)
class Ended:
    """The run as it ended."""

    run: Run
    cursor: Cursor


Event: TypeAlias = Snapshot | Points | Ended


class Watcher:
    """Watches runs in the store, which other processes write to as well.

    Commits of this server wake a watch; what others write is found by looking. Nothing is held
    for a watcher but its cursor, so that a slow one costs nobody anything.
    """

    def __init__(
        self,
        tracking: Tracking,
        log: CommitLog | None,
        pool: BlockingPool,
        signals: CommitSignals,
        stopping: asyncio.Event,
    ) -> None:
        self._tracking = tracking
        self._log = log
        self._pool = pool
        self._signals = signals
        self._stopping = stopping

    async def watch(self, watch: RunWatch) -> AsyncIterator[Event]:
        """Yield what happens to a run, to its end.

        Raises NotFoundError if there is no such run, InvalidFieldError for a cursor of another
        store, UnimplementedError if the store keeps no order of commits, and ServerStoppingError
        when the server stops.
        """
        if self._log is None:
            raise UnimplementedError(
                "NO_COMMIT_ORDER", "Runs can be watched only over SQLite and PostgreSQL."
            )
        cursor = watch.cursor or await self._start(self._log, watch)
        yield Snapshot(await self._pool.run(self._tracking.get_run, watch.run_id), cursor)
        with self._signals.watch(watch.run_id) as committed:
            while True:
                committed.clear()
                try:
                    found, read_seconds = await self._pool.run(_read, self._log, watch, cursor)
                except OverloadedError:
                    await self._pause(committed, _POLL_SECONDS)
                    continue
                cursor = found.cursor
                if found.points:
                    yield Points(found.points, cursor)
                if found.more:
                    continue
                if found.ended:
                    run = await self._pool.run(self._tracking.get_run, watch.run_id)
                    yield Ended(run, cursor)
                    return
                await self._pause(committed, read_seconds)

    async def _start(self, log: CommitLog, watch: RunWatch) -> Cursor:
        now = await self._pool.run(log.now)
        return Cursor(None, now.since) if watch.include_history else now

    async def _pause(self, committed: asyncio.Event, read_seconds: float) -> None:
        """Return when there may be something to read, and not so soon that reading is all."""
        shortest = pause_for(read_seconds)
        if await _is_set_within(self._stopping, shortest):
            raise ServerStoppingError
        await _is_set_within(committed, max(_POLL_SECONDS - shortest, 0.0))


def _read(log: CommitLog, watch: RunWatch, cursor: Cursor) -> tuple[Committed, float]:
    """Return what is next and the seconds the store took for it; blocks.

    Neither the wait for a thread nor that for a slow reader of the message is the store's time.
    """
    started = time.perf_counter()
    found = log.read(watch.run_id, watch.keys, cursor, _POINTS_PER_MESSAGE)
    return found, time.perf_counter() - started


def pause_for(read_seconds: float) -> float:
    """Return how long to leave the store alone after a read, in seconds."""
    pause = max(_SHORTEST_PAUSE_SECONDS, _PAUSE_PER_READ * read_seconds)
    return min(pause, _LONGEST_PAUSE_SECONDS)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except (TimeoutError, asyncio.TimeoutError):
        return False
    return True
