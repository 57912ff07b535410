"""Servers of a stream, and what arrived at them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import Message

from tests.unit.client.fake_server import FakeServer, ack, limits

__all__ = ["Gate", "Open", "cut_after", "points"]

Open = Callable[..., Any]


def points(server: FakeServer) -> list[tuple[str, float, int]]:
    """Key, value and step of all that arrived, in order, again where it came again."""
    return [
        (metric.key, metric.value, metric.step)
        for request in server.requests("StreamMetrics")
        for metric in request.metrics
    ]


class Gate:
    """A stream that takes messages, and acknowledges them when told."""

    def __init__(self, **changed: int) -> None:
        self.open = threading.Event()
        self.arrived = threading.Semaphore(0)
        self._limits = changed

    def __call__(self, requests: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        yield limits(**self._limits)
        context.add_callback(self.open.set)
        for request in requests:
            self.arrived.release()
            self.open.wait()
            yield ack(request.sequence)

    async def wait_for(self, messages: int = 1) -> None:
        for _ in range(messages):
            await asyncio.to_thread(self.arrived.acquire)


def cut_after(cuts: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> Any:
    """Cuts the first streams after a message that it does not acknowledge."""
    left = [None] * cuts

    def flow(requests: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        yield limits()
        for request in requests:
            if left:
                left.pop()
                context.abort(code, "cut")
            yield ack(request.sequence)

    return flow
