"""One replica: a worker process, and another one whenever it ends."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Protocol

from mlflow_grpc_server.serving.process import Cause, Ended, ProcessSpec, WorkerProcess
from mlflow_grpc_server.serving.spec import ReplicaState, ReplicaView

__all__ = ["LoadError", "Replica"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
# The model can be loaded, so that whoever waits is soon answered.
_LONGEST_PAUSE_OF_THE_READY = 4.0
_LOADS_TO_GIVE_UP = 5
_MEMORY_CHECK_SECONDS = 0.1

_logger = logging.getLogger(__name__)


class LoadError(Exception):
    """A version that cannot be served, with the last lines of the replica's log."""

    def __init__(self, reason: str, log_lines: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.log_lines = log_lines


class Owner(Protocol):
    """Who is told of what becomes of a replica."""

    def joined(self, process: WorkerProcess) -> None:
        """A process is ready."""

    def left(self, process: WorkerProcess) -> None:
        """A process that was ready has ended."""

    def altered(self) -> None:
        """Something else is different."""


class Replica:
    """Keeps one process running. One that ends is replaced after a pause, ever longer.

    The first start is another matter: if the model cannot be loaded then, `loaded` raises
    LoadError, and nothing is tried again.
    """

    def __init__(self, spec: ProcessSpec, owner: Owner) -> None:
        self._spec = spec
        self._owner = owner
        self.process: WorkerProcess | None = None
        self.state = ReplicaState.STARTING
        self.draining = False
        self.failures = 0
        self.last_failure = ""
        self.log_lines: tuple[str, ...] = ()
        self.loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting for it.
        self.loaded.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._restarts = 0
        self._was_ready = False
        self._failed_loads = 0
        self._task = asyncio.create_task(self._run())

    def view(self) -> ReplicaView:
        """Return the replica as it is."""
        state = ReplicaState.DRAINING if self.draining else self.state
        running = self.process is not None and not self.process.ended.done()
        pid = self.process.pid if running and self.process is not None else 0
        return ReplicaView(state, pid, self._restarts, self.last_failure)

    @property
    def has_given_up(self) -> bool:
        """Whether the model could not be loaded so often that nothing should wait for it."""
        return self._failed_loads >= _LOADS_TO_GIVE_UP or self.state is ReplicaState.FAILED

    async def stop(self) -> None:
        """End the process, and start none any more."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self.process is not None:
            await self.process.stop()
        if not self.loaded.done():
            self.loaded.cancel()

    async def _run(self) -> None:
        while True:
            self._set(ReplicaState.STARTING)
            ended = await self._live()
            self._note(ended)
            if not self.loaded.done():
                self._set(ReplicaState.FAILED)
                self.loaded.set_exception(LoadError(ended.message, self.log_lines))
                return
            # A process that was of use is replaced as if none had failed before.
            self.failures = 1 if self._was_useful() else self.failures + 1
            # What ends a process that was ready may be the calls that it had.
            self._failed_loads = 0 if self._was_ready else self._failed_loads + 1
            self._set(ReplicaState.BACKING_OFF)
            await asyncio.sleep(self._pause())
            self._restarts += 1

    def _pause(self) -> float:
        longest = _LONGEST_PAUSE_OF_THE_READY if self._was_ready else _LONGEST_PAUSE
        return min(_FIRST_PAUSE * 2.0 ** min(self.failures - 1, 10), longest)

    async def _live(self) -> Ended:
        """Run one process to its end."""
        self._was_ready = False
        self.process = None
        try:
            process = await WorkerProcess.start(self._spec)
        except OSError as error:
            return Ended(Cause.CRASHED, f"no process can be started: {error}")
        self.process = process
        self._owner.altered()
        memory = asyncio.create_task(self._watch_memory(process))
        try:
            await process.ready()
            if process.ended.done():
                return process.ended.result()
            self.state = ReplicaState.READY
            self._was_ready = True
            self._failed_loads = 0
            if not self.loaded.done():
                self.loaded.set_result(None)
            self._owner.joined(process)
            try:
                return await asyncio.shield(process.ended)
            finally:
                self._owner.left(process)
        finally:
            memory.cancel()

    def _was_useful(self) -> bool:
        return self.process is not None and self.process.has_answered

    async def _watch_memory(self, process: WorkerProcess) -> None:
        limit = self._spec.memory_limit
        while limit and not process.ended.done():
            if (used := process.resident_bytes()) > limit:
                text = (
                    f"used {used / 2**20:,.0f} MiB, more than the {limit / 2**20:,.0f} MiB it may"
                )
                process.kill(Cause.MEMORY, text)
            await asyncio.sleep(_MEMORY_CHECK_SECONDS)

    def _note(self, ended: Ended) -> None:
        self.last_failure = ended.message
        if self.process is not None:
            self.log_lines = self.process.log_lines
        _logger.warning("a replica of %s ended: %s", self._spec.label, ended.message)

    def _set(self, state: ReplicaState) -> None:
        self.state = state
        self._owner.altered()
