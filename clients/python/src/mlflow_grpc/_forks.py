"""Keeps gRPC and os.fork apart.

gRPC survives a fork only if none of its threads is inside it at that moment: else the child's
calls hang, and what the child does can break the connections of the parent. So the streams of
metrics are cut before a fork and made anew in the parent after it; what a child inherits is
never used nor freed there; and where the fork left gRPC broken, making a client in the child
raises instead of hanging.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from weakref import WeakSet

__all__ = ["FORKS", "Forks", "check_process"]

_OFF = ("0", "false", "no", "off")


class Suspendable(Protocol):
    """A stream that can be cut for a moment."""

    def suspend(self) -> bool:
        """Cuts it, and returns whether no thread of it is inside gRPC any more."""

    def resume(self) -> None:
        """Goes on."""


class Forks:
    """What there is in this process of gRPC, as far as forks must know it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: WeakSet[Suspendable] = WeakSet()
        self._suspended: list[Suspendable] = []
        self._channels: WeakSet[Any] = WeakSet()
        self._calls = 0
        self._is_quiet = True
        self._was_used = False
        self._uses_asyncio = False
        self._refusal = ""

    def check(self) -> None:
        """Raises RuntimeError where gRPC cannot be used since a fork."""
        if self._refusal:
            raise RuntimeError(self._refusal)

    def add_channel(self, channel: object, is_asyncio: bool) -> None:
        """Notes a channel."""
        with self._lock:
            self._channels.add(channel)
            self._was_used = True
            self._uses_asyncio = self._uses_asyncio or is_asyncio

    def add_stream(self, stream: Suspendable) -> None:
        """Notes a stream that is to be cut for the time of a fork."""
        with self._lock:
            self._streams.add(stream)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Around a call: until it is over, a thread is inside gRPC."""
        with self._lock:
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1

    def before(self) -> None:
        """Before a fork, in the parent."""
        self._lock.acquire()
        self._suspended = list(self._streams)
        suspended = [stream.suspend() for stream in self._suspended]
        self._is_quiet = all(suspended)

    def in_parent(self) -> None:
        """After a fork, in the parent."""
        suspended, self._suspended = self._suspended, []
        self._lock.release()
        for stream in suspended:
            stream.resume()

    def in_child(self) -> None:
        """After a fork, in the child."""
        for channel in self._channels:
            # Freeing it would wait for threads that the child does not have.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(channel))
        if self._was_used and not self._refusal:
            self._refusal = self._why_broken()
        self._streams.clear()
        self._suspended.clear()
        self._channels.clear()
        self._calls = 0
        self._lock.release()

    def _why_broken(self) -> str:
        if self._uses_asyncio:
            why = "its parent had used AsyncClient, and gRPC for asyncio does not survive a fork"
        elif self._calls or not self._is_quiet:
            why = "its parent was in the middle of a call when it forked"
        elif os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower() in _OFF:
            why = "its parent had used gRPC, and GRPC_ENABLE_FORK_SUPPORT turns its support off"
        else:
            return ""
        return f"this process cannot use gRPC: {why}; start it with spawn or forkserver instead"


# One for the process, because fork is: os.register_at_fork is for good.
FORKS = Forks()
os.register_at_fork(
    before=FORKS.before, after_in_parent=FORKS.in_parent, after_in_child=FORKS.in_child
)


def check_process(pid: int) -> None:
    """RuntimeError in another process than the one of that id."""
    if os.getpid() != pid:
        raise RuntimeError(
            f"the client was made in process {pid}, before the fork, and is of no use in this one: "
            "make a new client here"
        )
