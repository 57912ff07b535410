"""What the server and a worker say to each other over a socket.

A frame is its payload's length (uint32) and its kind (uint8), little-endian, and the payload. A
socket carries one call at a time: PREDICT is answered by ANSWER or FAILED. STREAM is answered by
ITEM for each NEXT, and by END or FAILED in the end; CANCEL asks for the END.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from enum import IntEnum

__all__ = ["ClosedError", "Kind", "receive", "receive_async", "send", "send_async"]

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
    """JSON: kind, reason, message, field."""


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


async def send_async(writer: asyncio.StreamWriter, kind: Kind, payload: bytes = b"") -> None:
    """Send a frame. Raises ClosedError."""
    try:
        header = _HEADER.pack(len(payload), kind)
        if len(payload) <= _JOINED_BYTES:
            writer.write(header + payload)
        else:
            writer.write(header)
            writer.write(payload)
        await writer.drain()
    except OSError as error:
        raise ClosedError from error


async def receive_async(reader: asyncio.StreamReader) -> tuple[Kind, bytes]:
    """Return the next frame. Raises ClosedError."""
    try:
        length, kind = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        return Kind(kind), await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError) as error:
        raise ClosedError from error
