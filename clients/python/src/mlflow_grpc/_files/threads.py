"""Threads that keep the disk, the hash and the wire of one transfer busy at the same time.

They are no pool's: a pool takes nothing any more once the main thread has ended, when other
threads may still have files to log.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
B = TypeVar("B")
R = TypeVar("R")

# Of 1 MiB each: enough that no thread waits for another to wake up, and few enough for memory.
_MOST_CALLS = 3
_INTERRUPTIBLE_SECONDS = 0.1


class Behind:
    """Runs calls in a thread of its own, in order, at most a few behind its caller."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # Those to be made, the first of which is running.
        self._calls: deque[Callable[[], object]] = deque()
        self._failure: BaseException | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def run(self, call: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Has a call made, unless one before it failed: raises what that one raised."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._calls) < _MOST_CALLS or self._closed)
            self._check()
            if self._closed:
                raise RuntimeError("it is closed")
            self._calls.append(partial(call, *args, **kwargs))
            if self._thread is None:
                self._thread = _started(self._make)
            self._changed.notify_all()

    def wait(self) -> None:
        """Returns when nothing is running. Raises what a call raised."""
        with self._changed:
            self._changed.wait_for(lambda: not self._calls)
            self._check()

    def close(self) -> None:
        """Returns when nothing is running, whatever came of it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _make(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._calls or self._closed)
                if not self._calls:
                    return
                call = self._calls[0]
            try:
                call()
            except BaseException as error:
                self._failure = error
            del call
            with self._changed:
                if self._failure is None:
                    self._calls.popleft()
                else:
                    self._calls.clear()
                self._changed.notify_all()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure


class Ahead(Generic[T]):
    """An iterator over `items` that makes the next few in a thread while the last is used.

    It ends where an item cannot be made, and `failure` says why: what an iterator of requests
    raises, gRPC only logs, or it cancels the caller.
    """

    def __init__(self, items: Generator[T, None, None]) -> None:
        self.failure: Exception | None = None
        self._items = items
        self._changed = threading.Condition()
        self._made: deque[T] = deque()
        self._is_over = False
        self._closed = False
        self._thread = _started(self._make)

    def __iter__(self) -> Ahead[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._made or self._is_over or self._closed)
            if self._closed or not self._made:
                raise StopIteration
            self._changed.notify_all()
            return self._made.popleft()

    def close(self) -> None:
        """Ends the iteration, also for who is waiting for an item. Nothing is made any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _make(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._made.append(item)
                    self._changed.notify_all()
                    del item
                    self._changed.wait_for(lambda: len(self._made) < _MOST_CALLS or self._closed)
                    if self._closed:
                        break
        except Exception as error:
            self.failure = error
        finally:
            self._items.close()
            with self._changed:
                self._is_over = True
                self._changed.notify_all()


class Cancellable(Protocol):
    """A call of gRPC."""

    def cancel(self) -> Any:
        """End it, unless it is over."""


class Stop:
    """What ends the calls of several transfers, once one of them has failed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = threading.Event()
        self._calls: set[Cancellable] = set()

    @contextmanager
    def ending(self, call: Cancellable) -> Generator[None, None, None]:
        """A block that a call lives as long as, at the most."""
        with self._lock:
            self._calls.add(call)
        try:
            if self._is_set.is_set():
                call.cancel()
            yield
        finally:
            with self._lock:
                self._calls.discard(call)
            call.cancel()

    def sleep(self, seconds: float) -> None:
        """Returns after some time, or when there is nothing to wait for any more."""
        self._is_set.wait(seconds)

    def set(self) -> None:
        """Ends every call, and each that is made from now on."""
        self._is_set.set()
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.cancel()


def each(items: Iterable[B], do: Callable[[B], R], stop: Stop, most: int) -> list[R]:
    """What `do` returns for each, in order, up to `most` at a time.

    The first failure, or an exception such as KeyboardInterrupt in the caller, ends them all.
    None runs in the caller: an interrupt in the middle of gRPC can leave a call that never ends.
    """
    waiting = deque(enumerate(items))
    results: dict[int, R] = {}
    failures: list[BaseException] = []

    def work() -> None:
        while waiting and not failures:
            try:
                index, item = waiting.popleft()
            except IndexError:
                return
            try:
                results[index] = do(item)
            except BaseException as error:
                failures.append(error)
                stop.set()

    threads = [_started(work) for _ in range(min(most, len(waiting)))]
    try:
        _join(threads)
        if failures:
            raise failures[0]
    except BaseException as error:
        failures.append(error)
        stop.set()
        _join(threads)
        raise
    finally:
        # They lead back here by their tracebacks.
        failures.clear()
    return [results[index] for index in range(len(results))]


def _join(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        while thread.is_alive():
            # An interrupt that comes just before a wait is noticed at its end only.
            thread.join(_INTERRUPTIBLE_SECONDS)


def _started(target: Callable[[], None]) -> threading.Thread:
    # It may not hold up the end of a process that was interrupted.
    thread = threading.Thread(target=target, name="mlflow-grpc-files", daemon=True)
    thread.start()
    return thread
