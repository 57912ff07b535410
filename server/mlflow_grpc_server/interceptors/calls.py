"""The request id, the log line and the error mapping of every call of this API.

Authentication and metrics join the chain between the two interceptors of a later change; this
one stays outermost, so that it sees what they refuse.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from mlflow_grpc_server.errors import status_for
from mlflow_grpc_server.exceptions import MalformedRequestError, ModelFailedError
from mlflow_grpc_server.services.context import REQUEST_ID_KEY, Context

__all__ = ["CallInterceptor"]

_DETAILS_KEY = "grpc-status-details-bin"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_CODES = {code.value[0]: code for code in grpc.StatusCode}

_logger = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Gives each call an id, parses its request, logs it, and sends errors as google.rpc.Status.

    The caller may choose the id, in the metadata `x-request-id`; it comes back in the trailers.
    `idle` is set while no call of the API is in flight.
    """

    def __init__(self, *method_prefixes: str) -> None:
        self._method_prefixes = method_prefixes
        self._in_flight = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of a method of this API; leave others as they are."""
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or not method.startswith(self._method_prefixes):
            return handler
        request_id = _request_id(handler_call_details)
        if handler.response_streaming:
            return self._wrap_streaming(handler, method, request_id)
        return self._wrap_unary(handler, method, request_id)

    def _wrap_unary(self, handler: Handler, method: str, request_id: str) -> Handler:
        inner: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary
        wrap = (
            grpc.stream_unary_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler
        )

        async def call(request: Any, context: Context) -> Any:
            async with self._around(method, request_id, context):
                return await inner(_parsed(request, handler), context)

        return wrap(call, None, handler.response_serializer)

    def _wrap_streaming(self, handler: Handler, method: str, request_id: str) -> Handler:
        inner: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream
        wrap = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )

        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self._around(method, request_id, context):
                async for response in inner(_parsed(request, handler), context):
                    yield response

        return wrap(call, None, handler.response_serializer)

    @asynccontextmanager
    async def _around(self, method: str, request_id: str, context: Context) -> AsyncIterator[None]:
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        self._enter()
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            code = grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            sent: Any = context.code()
            code = _CODES.get(sent, grpc.StatusCode.UNKNOWN)
            raise
        except Exception as error:
            status = status_for(error, request_id)
            code = _CODES[status.code]
            # What a model raised is in the log of its replica.
            if code is grpc.StatusCode.INTERNAL and not isinstance(error, ModelFailedError):
                _logger.exception("%s failed request_id=%s", method, request_id)
            await _abort(context, status, request_id)
        finally:
            self._leave()
            milliseconds = (time.perf_counter() - started) * 1000
            _logger.debug(
                "%s %s %.1f ms request_id=%s", method, code.name, milliseconds, request_id
            )

    def _enter(self) -> None:
        self._in_flight += 1
        self.idle.clear()

    def _leave(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self.idle.set()


def _parsed(request: Any, handler: Handler) -> Any:
    """Return the message, or the messages as they come, of a request that is bytes still.

    gRPC would parse them before it gives the call to the handler, and fail it with UNKNOWN.
    """
    if handler.request_streaming:
        return _messages(request, handler)
    return _message(request, handler)


async def _messages(requests: AsyncIterator[bytes], handler: Handler) -> AsyncIterator[Any]:
    async for request in requests:
        yield _message(request, handler)


def _message(request: bytes, handler: Handler) -> Any:
    if handler.request_deserializer is None:
        return request
    try:
        return handler.request_deserializer(request)
    except DecodeError as error:
        raise MalformedRequestError from error


def _request_id(details: grpc.HandlerCallDetails) -> str:
    for key, value in details.invocation_metadata or ():
        if key == REQUEST_ID_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex


async def _abort(context: Context, status: status_pb2.Status, request_id: str) -> None:
    trailers = ((REQUEST_ID_KEY, request_id), (_DETAILS_KEY, status.SerializeToString()))
    await context.abort(_CODES[status.code], status.message, trailers)
