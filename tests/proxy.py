"""A TCP proxy that does to connections what networks do."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from types import TracebackType

__all__ = ["FaultyProxy"]

_CHUNK = 4096
_RESET = struct.pack("ii", 1, 0)


class FaultyProxy:
    """Forwards to `target`, on a port of the kernel's choice, in a thread of its own.

    For each piece of data it may, at random by `seed`: delay it, stall the connection for good,
    or reset it in the middle of the piece, so that messages are cut. `faults` counts them.
    """

    def __init__(self, target: str, seed: int) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.faults = {"reset": 0, "stall": 0, "delay": 0}
        self.faulty = True
        self.address = ""

    async def _serve(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        writers = (writer, there[1])
        try:
            await asyncio.gather(
                self._forward(reader, there[1], writers), self._forward(there[0], writer, writers)
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in writers:
                each.close()
            self._tasks.discard(task)

    async def _forward(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        while data := await source.read(_CHUNK):
            fault = self._random.random() if self.faulty else 1.0
            if fault < 0.01:
                self.faults["reset"] += 1
                sink.write(data[: len(data) // 2])
                for writer in both:
                    _reset(writer)
                raise ConnectionResetError
            if fault < 0.012:
                self.faults["stall"] += 1
                await asyncio.Event().wait()
            if fault < 0.1:
                self.faults["delay"] += 1
                await asyncio.sleep(self._random.uniform(0, 0.05))
            sink.write(data)
            await sink.drain()
        sink.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(60)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Cut with RST, as a router that has forgotten the connection does."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
