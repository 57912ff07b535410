"""Threads that keep the disk, the hash and the wire of one transfer busy at the same time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Of 1 MiB each: enough that no thread waits for another to wake up, and few enough for memory.
_MOST_CALLS = 3


class Behind:
    """Runs calls in a thread of its own, in order, at most a few behind its caller."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._calls: deque[Future[None]] = deque()
        self._failure: BaseException | None = None

    def run(self, call: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Has a call made, unless one before it failed: raises what that one raised."""
        self._calls.append(self._thread.submit(self._make, call, *args, **kwargs))
        self._wait(_MOST_CALLS)

    def wait(self) -> None:
        """Returns when nothing is running. Raises what a call raised."""
        self._wait(0)

    def close(self) -> None:
        """Returns when nothing is running, whatever came of it."""
        self._thread.shutdown()

    def _make(self, call: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self._failure is None:
            try:
                call(*args, **kwargs)
            except BaseException as error:
                self._failure = error

    def _wait(self, most: int) -> None:
        while len(self._calls) > most:
            self._calls.popleft().result()
        if self._failure is not None:
            raise self._failure


class Ahead(Generic[T]):
    """An iterator over `items` that makes the next few in a thread while the last is used."""

    def __init__(self, items: Generator[T, None, None]) -> None:
        self._items = items
        self._thread = ThreadPoolExecutor(1)
        self._lock = threading.Lock()
        self._closed = False
        self._made = deque(self._make() for _ in range(_MOST_CALLS))

    def __iter__(self) -> Ahead[T]:
        return self

    def __next__(self) -> T:
        with self._lock:
            if self._closed:
                raise StopIteration
            self._made.append(self._make())
        try:
            item = self._made.popleft().result()
        except CancelledError:
            item = None
        if item is None:
            raise StopIteration
        return item

    def close(self) -> None:
        """Ends the iteration, also for who is waiting for an item. Nothing is made any more."""
        with self._lock:
            self._closed = True
        self._thread.shutdown(cancel_futures=True)
        self._items.close()

    def _make(self) -> Future[T | None]:
        make: Callable[[Any, None], T | None] = next
        return self._thread.submit(make, self._items, None)


def ending(items: Generator[T, None, None], failure: list[Exception]) -> Generator[T, None, None]:
    """Items, up to one that cannot be made; why not goes to `failure`.

    What an iterator of requests raises, gRPC only logs, or it cancels the caller.
    """
    try:
        yield from items
    except Exception as error:
        failure.append(error)
