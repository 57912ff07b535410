"""Makes calls on a blocking channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, TypeVar, cast

import grpc

from mlflow_grpc._calls.call import Call, Method, Pages
from mlflow_grpc._channel import channel_options
from mlflow_grpc._config import ClientConfig
from mlflow_grpc._errors import DeadlineExceededError, NotFoundError, decode_error
from mlflow_grpc._lifecycle import gone

T = TypeVar("T")


class Caller:
    """Makes calls, with the configured deadline, metadata and exceptions."""

    def __init__(self, target: str, config: ClientConfig) -> None:
        self._config = config
        self._channel = grpc.insecure_channel(target, options=channel_options(config))
        self._stubs: dict[str, Any] = {}
        self._closed = False

    def _call(self, call: Call[T], timeout: float | None) -> T:
        try:
            response = self._stub(call.method)(
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
            for response in responses:
                yield call.convert(response)
        except grpc.RpcError as error:
            raise decode_error(error) from error
        finally:
            responses.cancel()

    def _call_until(self, call: Call[T], done: Callable[[T], bool], timeout: float | None) -> T:
        """The first that the stream of a call brings that is done."""
        seconds = self._config.deadline(timeout)
        with closing(self._stream(call, seconds)) as items:
            for item in items:
                if done(item):
                    return item
        raise gone()

    def _stub(self, method: Method) -> Any:
        if self._closed:
            raise RuntimeError("the client is closed")
        stub = self._stubs.get(method.path)
        if stub is None:
            # Two threads may both come here for one method; either's stub will do.
            channel = self._channel
            stub = (channel.unary_stream if method.streams else channel.unary_unary)(
                method.path,
                request_serializer=_serialize,
                response_deserializer=method.decode,
            )
            self._stubs[method.path] = stub
        return stub

    def _wait_until_ready(self, timeout: float | None) -> None:
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

    def _close(self) -> None:
        self._closed = True
        self._channel.close()


def _serialize(request: Any) -> bytes:
    return cast(bytes, request.SerializeToString())
