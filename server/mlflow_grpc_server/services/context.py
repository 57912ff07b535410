"""The context type of servicers, and what the interceptors put into it."""

from typing import Any, TypeAlias

import grpc

__all__ = ["REQUEST_ID_KEY", "Context", "request_id"]

REQUEST_ID_KEY = "x-request-id"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def request_id(context: Context) -> str:
    """Return the id of the call, which goes back to the caller in the trailers."""
    trailers: Any = context.trailing_metadata()
    return str(dict(trailers)[REQUEST_ID_KEY])
