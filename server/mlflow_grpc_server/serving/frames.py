"""What the server and a worker say to each other over a socket.

A frame is its payload's length (uint32) and its kind (uint8), little-endian, and the payload. A
socket carries one call at a time: PREDICT is answered by ANSWER or FAILED. STREAM is answered by
ITEM for each NEXT, and by END or FAILED in the end; CANCEL asks for the END.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum

__all__ = ["ClosedError", "FrameProtocol", "Kind", "pack", "receive", "send", "unpack"]

_LENGTH = struct.Struct("<I")
_HEADER = struct.Struct("<IB")
_JOINED_BYTES = 65_536


class Kind(IntEnum):
    """What a frame means, and what its payload is."""

    PREDICT = 1
    """A serialized PredictRequest."""
    STREAM = 2
    """A serialized PredictStreamRequest."""
    NEXT = 3
    CANCEL = 4
    PREDICT_MANY = 5
    """Several PredictRequests, packed; answered by ANSWER_MANY."""
    READY = 10
    """JSON of the model's inputs and outputs."""
    LOAD_FAILED = 11
    """Why, as text."""
    ANSWER = 12
    """A serialized PredictResponse."""
    ITEM = 13
    """A serialized google.protobuf.Value."""
    END = 14
    FAILED = 15
    """JSON: kind, message, field."""
    ANSWER_MANY = 16
    """For each request, packed, the kind of its answer (a byte) and the answer."""


def pack(parts: Iterable[bytes]) -> bytes:
    """Return several payloads as one."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def unpack(payload: bytes) -> Iterator[bytes]:
    """Yield the payloads of `pack`."""
    at = 0
    while at < len(payload):
        (length,) = _LENGTH.unpack_from(payload, at)
        at += _LENGTH.size + length
        yield payload[at - length : at]


class ClosedError(Exception):
    """The other side is gone."""


def send(sock: socket.socket, kind: Kind, payload: bytes = b"") -> None:
    """Send a frame; blocks. Raises ClosedError."""
    header = _HEADER.pack(len(payload), kind)
    try:
        if len(payload) <= _JOINED_BYTES:
            sock.sendall(header + payload)
            return
        sock.sendall(header)
        sock.sendall(payload)
    except OSError as error:
        raise ClosedError from error


def receive(sock: socket.socket) -> tuple[Kind, bytes]:
    """Return the next frame; blocks. Raises ClosedError."""
    length, kind = _HEADER.unpack(_receive_exactly(sock, _HEADER.size))
    return Kind(kind), bytes(_receive_exactly(sock, length)) if length else b""


def _receive_exactly(sock: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        try:
            count = sock.recv_into(view[done:])
        except OSError as error:
            raise ClosedError from error
        if not count:
            raise ClosedError
        done += count
    return buffer


class FrameProtocol(asyncio.Protocol):
    """The server's end of a socket: frames go out at once, and those that come wait to be read.

    A reader that is cancelled loses no frame: the next one gets it. `lost` is called when the
    other side has closed it.
    """

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._frames: deque[tuple[Kind, bytes]] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._expecting: Callable[[tuple[Kind, bytes] | None], None] | None = None
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what came, and wake the reader when a frame is whole."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            length, kind = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            frame = Kind(kind), bytes(self._buffer[_HEADER.size : end])
            del self._buffer[:end]
            if self._expecting is None:
                self._frames.append(frame)
                self._wake()
            else:
                self._hand_over(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the reader that nothing comes any more."""
        self._closed = True
        self._wake()
        self._hand_over(None)
        self._lost()

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Send a frame. Raises ClosedError."""
        if self._transport is None or self._closed or self._transport.is_closing():
            raise ClosedError
        header = _HEADER.pack(len(payload), kind)
        if len(payload) <= _JOINED_BYTES:
            self._transport.write(header + payload)
        else:
            self._transport.writelines((header, payload))

    def expect(self, expecting: Callable[[tuple[Kind, bytes] | None], None]) -> None:
        """Have the next frame given to `expecting` as it comes, or None if none will come."""
        self._expecting = expecting

    async def receive(self) -> tuple[Kind, bytes]:
        """Return the next frame. Raises ClosedError."""
        while not self._frames:
            if self._closed:
                raise ClosedError
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._frames.popleft()

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _hand_over(self, frame: tuple[Kind, bytes] | None) -> None:
        # It may well expect the next one before it returns.
        expecting, self._expecting = self._expecting, None
        if expecting is not None:
            expecting(frame)
