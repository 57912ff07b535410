"""The messages of one stream that were taken and are not acknowledged."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from mlflow_grpc_server.ingest.entries import Outcome

__all__ = ["Window"]

M = TypeVar("M")


class Window(Generic[M]):
    """A queue of messages with their outcomes, oldest first, of a bounded length and size.

    The reader of a stream adds to it and waits while it is full; its answerer takes from it what
    has an outcome. Either side, or a server that stops, may close it.
    """

    def __init__(self, most_messages: int, most_bytes: int) -> None:
        """Of messages of any size there is always room for one."""
        self._messages: deque[tuple[M, int, asyncio.Future[Outcome]]] = deque()
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._bytes = 0
        self._taken = asyncio.Event()
        self._changed = asyncio.Event()
        self.closed = False
        self._error: Exception | None = None

    async def wait_for_room(self) -> None:
        """Return when one more message may be added."""
        while len(self._messages) >= self._most_messages or self._bytes >= self._most_bytes:
            self._taken.clear()
            await self._taken.wait()

    def add(self, message: M, size: int, outcome: asyncio.Future[Outcome]) -> None:
        """Add a message of `size` bytes, to a window that is not closed."""
        self._messages.append((message, size, outcome))
        self._bytes += size
        self._changed.set()

    def close(self, error: Exception | None = None) -> None:
        """Take no more messages. After those it has, the stream ends, with `error` if given."""
        if not self.closed:
            self.closed = True
            self._error = error
            self._changed.set()

    async def take(self) -> tuple[M, Outcome] | None:
        """Return the oldest message once it has an outcome; None after the last one.

        Raises what kept it from being stored, or what the window was closed with.
        """
        while not self._messages:
            if self.closed:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            await self._changed.wait()
        message, size, future = self._messages[0]
        outcome = await future
        self._messages.popleft()
        self._bytes -= size
        self._taken.set()
        return message, outcome

    @property
    def has_outcome(self) -> bool:
        """Whether the next message can be taken without waiting."""
        return bool(self._messages) and self._messages[0][2].done()
