"""Makes calls on a blocking channel."""

from __future__ import annotations

import contextlib
import math
import os
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar, cast

import grpc

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


class Caller:
    """Makes calls, with the configured deadline, metadata and exceptions."""

    def __init__(self, target: str, config: ClientConfig) -> None:
        FORKS.check()
        self._config = config
        self._channel = grpc.insecure_channel(target, options=channel_options(config))
        FORKS.add_channel(self._channel, is_asyncio=False)
        weakref.finalize(self, _close_channel, self._channel, os.getpid())
        self._stubs: dict[str, Any] = {}
        self._closed = False
        self._pid = os.getpid()
        self._engine = Engine(
            lambda: grpc.insecure_channel(target, options=stream_options(config)),
            config.metadata,
            config.stream,
        )

    def _call(self, call: Call[T], timeout: float | None) -> T:
        stub = self._stub(call.method)
        try:
            with FORKS.calling():
                response = stub(
                    call.request,
                    timeout=self._config.deadline(timeout),
                    metadata=self._config.metadata,
                )
        except grpc.RpcError as error:
            raise decode_error(error) from error
        return call.convert(response)

    def _call_or_none(self, call: Call[T], timeout: float | None) -> T | None:
        try:
            return self._call(call, timeout)
        except NotFoundError:
            return None

    def _call_all(self, calls: Iterable[Call[None]], timeout: float | None) -> None:
        for call in calls:
            self._call(call, timeout)

    def _iterate(self, pages: Pages[T], timeout: float | None) -> Iterator[T]:
        while (call := pages.next_call()) is not None:
            yield from pages.take(self._call(call, timeout))

    def _stream(self, call: Call[T], timeout: float | None) -> Generator[T, None, None]:
        """What the stream of a call brings; the stream ends when the iterator is closed."""
        seconds = math.inf if timeout is None else timeout
        responses = self._stub(call.method)(
            call.request, timeout=self._config.deadline(seconds), metadata=self._config.metadata
        )
        try:
            with FORKS.calling():
                for response in responses:
                    yield call.convert(response)
        except grpc.RpcError as error:
            raise decode_error(error) from error
        finally:
            responses.cancel()

    def _call_until(self, call: Call[T], done: Callable[[T], bool], timeout: float | None) -> T:
        """The first that the stream of a call brings that is done."""
        seconds = self._config.deadline(timeout)
        with contextlib.closing(self._stream(call, seconds)) as items:
            for item in items:
                if done(item):
                    return item
        raise gone()

    def _watch(self, watch: Watch[T], timeout: float | None) -> Iterator[T]:
        watch.may_be_away(self._config.deadline(timeout))
        while not watch.ended:
            stream = self._stub(watch.method)(watch.request(), metadata=self._config.metadata)
            pause = 0.0
            try:
                with FORKS.calling():
                    for response in stream:
                        yield from watch.take(response)
                pause = watch.pause_after(None)
            except grpc.RpcError as error:
                pause = watch.pause_after(decode_error(error))
            finally:
                stream.cancel()
            time.sleep(pause)

    def _finish(self, flush: Flush, timeout: float | None) -> None:
        seconds = self._config.stream.flush_timeout if timeout is None else timeout
        try:
            flush.future.result(None if seconds == math.inf else seconds)
        except FutureTimeoutError:
            self._engine.give_up(flush, seconds)
            flush.future.result()

    def _stub(self, method: Method) -> Any:
        check_process(self._pid)
        if self._closed:
            raise RuntimeError("the client is closed")
        stub = self._stubs.get(method.path)
        if stub is None:
            # Two threads may both come here for one method; either's stub will do.
            stub = getattr(self._channel, method.kind)(
                method.path,
                request_serializer=_serialize,
                response_deserializer=method.decode,
            )
            self._stubs[method.path] = stub
        return stub

    def _wait_until_ready(self, timeout: float | None) -> None:
        check_process(self._pid)
        if self._closed:
            raise RuntimeError("the client is closed")
        seconds = self._config.deadline(timeout)
        ready = grpc.channel_ready_future(self._channel)
        try:
            ready.result(timeout=seconds)
        except grpc.FutureTimeoutError as error:
            raise DeadlineExceededError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"the server was not ready within {seconds} s"
            ) from error
        finally:
            ready.cancel()

    def _close(self, timeout: float | None) -> None:
        # In a fork the connection is the parent's, and there is nothing to close.
        if self._closed or os.getpid() != self._pid:
            return
        self._engine.seal()
        try:
            self._finish(self._engine.flush(None), timeout)
        finally:
            self._closed = True
            with contextlib.suppress(FutureTimeoutError):
                self._engine.shut_down().result(GOODBYE_SECONDS)
            self._channel.close()


def _close_channel(channel: grpc.Channel, pid: int) -> None:
    # gRPC hangs at times when a process ends with an open channel that had calls. That of a
    # parent is no business of its forked child.
    if os.getpid() == pid:
        channel.close()


def _serialize(request: Any) -> bytes:
    return cast(bytes, request.SerializeToString())
