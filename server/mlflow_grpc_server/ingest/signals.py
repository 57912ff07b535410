"""Tells watchers of a run that something was committed to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = ["CommitSignals"]


class CommitSignals:
    """An event for each watcher, set when a commit has touched its run."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def watch(self, run_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that every commit to the run sets."""
        event = asyncio.Event()
        self._watchers.setdefault(run_id, set()).add(event)
        try:
            yield event
        finally:
            self._watchers[run_id].discard(event)
            if not self._watchers[run_id]:
                del self._watchers[run_id]

    def committed(self, run_ids: Iterable[str]) -> None:
        """Wake the watchers of runs."""
        if not self._watchers:
            return
        for run_id in run_ids:
            for event in self._watchers.get(run_id, ()):
                event.set()
