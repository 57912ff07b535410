"""The one way from the event loop to calls that block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from mlflow_grpc_server.exceptions import OverloadedError

__all__ = ["BlockingPool"]

P = ParamSpec("P")
T = TypeVar("T")


class BlockingPool:
    """Runs blocking calls on `threads` threads, with at most `waiting` more in line.

    The line is kept on the event loop and not in the executor, so that a call whose client has
    gone leaves it at once and never uses a thread.
    """

    def __init__(self, threads: int, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="store")
        self._free_threads = asyncio.Semaphore(threads)
        self._most_waiting = waiting
        self._waiting = 0

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `call` returns, from a thread of the pool.

        Raises OverloadedError when the line is full. A cancelled caller does not stop a call
        that is running: its thread is busy until the call returns.
        """
        await self._take_thread()
        loop = asyncio.get_running_loop()

        def give_back(_: Future[T]) -> None:
            loop.call_soon_threadsafe(self._free_threads.release)

        future = self._executor.submit(call, *args, **kwargs)
        future.add_done_callback(give_back)
        return await asyncio.wrap_future(future)

    async def _take_thread(self) -> None:
        if self._free_threads.locked() and self._waiting >= self._most_waiting:
            raise OverloadedError(self._waiting)
        self._waiting += 1
        try:
            await self._free_threads.acquire()
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Return when no call is running any more."""
        await asyncio.to_thread(self._executor.shutdown)
