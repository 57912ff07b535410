"""The context type of servicers."""

from typing import Any, TypeAlias

import grpc

__all__ = ["Context"]

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
