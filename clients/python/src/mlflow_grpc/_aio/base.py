"""Makes calls on an asyncio channel."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any, TypeVar, cast

import grpc
import grpc.aio

from mlflow_grpc._calls.call import Call, Method, Pages
from mlflow_grpc._calls.watch import Watch
from mlflow_grpc._channel import channel_options, stream_options
from mlflow_grpc._config import ClientConfig
from mlflow_grpc._errors import DeadlineExceededError, NotFoundError, decode_error
from mlflow_grpc._forks import FORKS, check_process
from mlflow_grpc._lifecycle import gone
from mlflow_grpc._stream.buffer import Flush
from mlflow_grpc._stream.engine import GOODBYE_SECONDS, Engine

T = TypeVar("T")


class AsyncCaller:
    """Makes calls, with the configured deadline, metadata and exceptions."""

    def __init__(self, target: str, config: ClientConfig) -> None:
        FORKS.check()
        self._config = config
        self._channel = grpc.aio.insecure_channel(target, options=channel_options(config))
        FORKS.add_channel(self._channel, is_asyncio=True)
        self._stubs: dict[str, Any] = {}
        self._closed = False
        self._pid = os.getpid()
        # On a channel of its own that blocks, in a thread: so that a training loop that keeps
        # the event loop busy still streams.
        self._engine = Engine(
            lambda: grpc.insecure_channel(target, options=stream_options(config)),
            config.metadata,
            config.stream,
        )

    async def _call(self, call: Call[T], timeout: float | None) -> T:
        try:
            response = await self._stub(call.method)(
                call.request,
                timeout=self._config.deadline(timeout),
                metadata=self._config.metadata,
            )
        except grpc.RpcError as error:
            raise decode_error(error) from error
        return call.convert(response)

    async def _call_or_none(self, call: Call[T], timeout: float | None) -> T | None:
        try:
            return await self._call(call, timeout)
        except NotFoundError:
            return None

    async def _call_all(self, calls: Iterable[Call[None]], timeout: float | None) -> None:
        for call in calls:
            await self._call(call, timeout)

    async def _iterate(self, pages: Pages[T], timeout: float | None) -> AsyncIterator[T]:
        while (call := pages.next_call()) is not None:
            for item in pages.take(await self._call(call, timeout)):
                yield item

    async def _stream(self, call: Call[T], timeout: float | None) -> AsyncGenerator[T, None]:
        """What the stream of a call brings; the stream ends when the iterator is closed."""
        seconds = math.inf if timeout is None else timeout
        responses = self._stub(call.method)(
            call.request, timeout=self._config.deadline(seconds), metadata=self._config.metadata
        )
        try:
            async for response in responses:
                yield call.convert(response)
        except grpc.RpcError as error:
            raise decode_error(error) from error
        finally:
            responses.cancel()

    async def _call_until(
        self, call: Call[T], done: Callable[[T], bool], timeout: float | None
    ) -> T:
        """The first that the stream of a call brings that is done."""
        seconds = self._config.deadline(timeout)
        async with contextlib.aclosing(self._stream(call, seconds)) as items:
            async for item in items:
                if done(item):
                    return item
        raise gone()

    async def _watch(self, watch: Watch[T], timeout: float | None) -> AsyncIterator[T]:
        watch.may_be_away(self._config.deadline(timeout))
        while not watch.ended:
            stream = self._stub(watch.method)(watch.request(), metadata=self._config.metadata)
            pause = 0.0
            try:
                async for response in stream:
                    for event in watch.take(response):
                        yield event
                pause = watch.pause_after(None)
            except grpc.RpcError as error:
                pause = watch.pause_after(decode_error(error))
            finally:
                stream.cancel()
            await asyncio.sleep(pause)

    async def _finish(self, flush: Flush, timeout: float | None) -> None:
        seconds = self._config.stream.flush_timeout if timeout is None else timeout
        stored = asyncio.wrap_future(flush.future)
        await asyncio.wait([stored], timeout=None if seconds == math.inf else seconds)
        if not stored.done():
            self._engine.give_up(flush, seconds)
        await stored

    def _stub(self, method: Method) -> Any:
        check_process(self._pid)
        if self._closed:
            raise RuntimeError("the client is closed")
        stub = self._stubs.get(method.path)
        if stub is None:
            stub = getattr(self._channel, method.kind)(
                method.path,
                request_serializer=_serialize,
                response_deserializer=method.decode,
            )
            self._stubs[method.path] = stub
        return stub

    async def _wait_until_ready(self, timeout: float | None) -> None:
        check_process(self._pid)
        if self._closed:
            raise RuntimeError("the client is closed")
        seconds = self._config.deadline(timeout)
        try:
            await asyncio.wait_for(self._channel.channel_ready(), seconds)
        except asyncio.TimeoutError as error:
            raise DeadlineExceededError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"the server was not ready within {seconds} s"
            ) from error

    async def _close(self, timeout: float | None) -> None:
        # In a fork the connection is the parent's, and there is nothing to close.
        if self._closed or os.getpid() != self._pid:
            return
        self._engine.seal()
        try:
            await self._finish(self._engine.flush(None), timeout)
        finally:
            self._closed = True
            ended = asyncio.wrap_future(self._engine.shut_down())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(ended), GOODBYE_SECONDS)
            await self._channel.close()


def _serialize(request: Any) -> bytes:
    return cast(bytes, request.SerializeToString())
