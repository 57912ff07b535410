"""A client of either kind that one test can drive."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from mlflow_grpc import AsyncClient, Client, ClientConfig


class Driver:
    """Calls the methods of a `Client` or an `AsyncClient` alike; iterators become lists."""

    def __init__(self, kind: str, target: str) -> None:
        self.kind = kind
        self._target = target
        self._opened: list[Client | AsyncClient] = []
        self.client = self.open()

    def open(self, target: str | None = None, **config: Any) -> Client | AsyncClient:
        """Another client of the same kind; it is closed after the test."""
        made = (Client if self.kind == "sync" else AsyncClient)(
            target or self._target, config=ClientConfig(**config)
        )
        self._opened.append(made)
        return made

    async def call(self, name: str, /, *args: Any, on: Any = None, **kwargs: Any) -> Any:
        """Calls a method, of `on` or of the client."""
        method = getattr(on or self.client, name)
        if self.kind == "sync":
            return await asyncio.to_thread(lambda: _listed(method(*args, **kwargs)))
        result = method(*args, **kwargs)
        if hasattr(result, "__aiter__"):
            return [item async for item in result]
        return await result if inspect.isawaitable(result) else result

    async def close(self) -> None:
        """Closes every client."""
        for client in self._opened:
            await self.call("close", on=client)


def _listed(result: Any) -> Any:
    return list(result) if hasattr(result, "__next__") else result
