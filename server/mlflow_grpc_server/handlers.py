"""How services are added to the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc

__all__ = ["GenericHandlers"]


class GenericHandlers:
    """Stands for a server where generated code adds services, and leaves methods unregistered.

    For every call that comes, a grpc.aio server waits anew for the next one of each registered
    method, and there are about a hundred here. Generic handlers find their methods by a look into a
    dict, and there is one next call to wait for.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add the handlers of a service."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Do nothing: `add_generic_rpc_handlers` is called with the same."""
