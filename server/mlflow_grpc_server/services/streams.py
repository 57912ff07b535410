"""The streaming methods of RunService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import ParamSpec, TypeAlias, TypeVar

from google.rpc import status_pb2

from mlflow_grpc.v1 import run_service_pb2 as pb
from mlflow_grpc.v1.run_service_pb2_grpc import RunServiceServicer
from mlflow_grpc_server.convert import streams
from mlflow_grpc_server.convert.status import MAX_REQUEST_BYTES
from mlflow_grpc_server.errors import status_for
from mlflow_grpc_server.exceptions import RequestError, ServerStoppingError
from mlflow_grpc_server.ingest.entries import Rejected
from mlflow_grpc_server.ingest.pipeline import Ingest
from mlflow_grpc_server.ingest.window import Window
from mlflow_grpc_server.services.context import Context, request_id
from mlflow_grpc_server.tracking.watch import Watcher

__all__ = ["StreamMethods", "off_loop"]

# A bad entry takes up to a tenth of a millisecond to refuse, a good one a few microseconds.
_MOST_ENTRIES_ON_LOOP = 1000

# Messages stay until their caller has read what became of them.
_MOST_BYTES_IN_FLIGHT = 8 * 1024 * 1024

P = ParamSpec("P")
T = TypeVar("T")

_Window: TypeAlias = Window[tuple[pb.StreamMetricsRequest, Sequence[Rejected]]]


class StreamMethods(RunServiceServicer):
    """What goes on for as long as a run does."""

    def __init__(self, ingest: Ingest, watcher: Watcher) -> None:
        self._ingest = ingest
        self._watcher = watcher
        self._windows: set[_Window] = set()

    def stop_streams(self) -> None:
        """Take no more messages; acknowledge what was taken and end the streams."""
        for window in self._windows:
            window.close(ServerStoppingError())

    async def StreamMetrics(
        self, requests: AsyncIterator[pb.StreamMetricsRequest], context: Context
    ) -> AsyncIterator[pb.StreamMetricsResponse]:
        yield streams.limits(MAX_REQUEST_BYTES)
        window = _Window(streams.MAX_MESSAGES_IN_FLIGHT, _MOST_BYTES_IN_FLIGHT)
        self._windows.add(window)
        reader = asyncio.create_task(self._read(requests, window))
        try:
            while (taken := await window.take()) is not None:
                (request, rejected), outcome = taken

                def status(error: RequestError) -> status_pb2.Status:
                    return status_for(error, request_id(context))

                if rejected or outcome.rejected or outcome.refused is not None:
                    told = await off_loop(
                        request, streams.rejections, request, rejected, outcome, status
                    )
                    for response in told:
                        yield response
                if not window.has_outcome:
                    yield streams.ack(request.sequence)
        finally:
            self._windows.discard(window)
            reader.cancel()

    async def _read(
        self, requests: AsyncIterator[pb.StreamMetricsRequest], window: _Window
    ) -> None:
        last = 0
        try:
            async for request in requests:
                last = streams.sequence(request, last)
                # Before the entries become rows, which take more memory than the message.
                await window.wait_for_room()
                await self._ingest.wait_for_room()
                entries, rejected = await off_loop(request, streams.entries, request)
                if window.closed:
                    # Never acknowledged, so that the caller sends it again, elsewhere.
                    return
                size = request.ByteSize()
                window.add((request, rejected), size, self._ingest.submit(entries, size))
        except Exception as error:  # Whatever it is, the stream ends with it.
            window.close(error)
        window.close()

    async def WatchRun(
        self, request: pb.WatchRunRequest, context: Context
    ) -> AsyncIterator[pb.WatchRunResponse]:
        watch = streams.run_watch(request)
        async for event in self._watcher.watch(watch):
            yield streams.event_to_proto(event, watch.run_id)


async def off_loop(
    request: pb.StreamMetricsRequest, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return what `call` makes of `request`: in a thread if it is long, so that others go on."""
    if streams.size(request) <= _MOST_ENTRIES_ON_LOOP:
        return call(*args, **kwargs)
    return await asyncio.to_thread(call, *args, **kwargs)
