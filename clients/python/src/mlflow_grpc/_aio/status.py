"""How the server is."""

# Made from _sync/status.py by tests/unit/client/twins.py; do not edit.

from __future__ import annotations

from mlflow_grpc._aio.base import AsyncCaller
from mlflow_grpc._calls import status as calls
from mlflow_grpc._entities import Health, ServerInfo, Version


class AsyncStatusMethods(AsyncCaller):
    """The methods about the server itself."""

    async def get_health(self, *, timeout: float | None = None) -> Health:
        """Checks the server and each store behind it, now. `timeout` is in seconds.

        A store that is down is not an error but an UNHEALTHY component of the answer.
        """
        return await self._call(calls.get_health(), timeout)

    async def get_server_info(self, *, timeout: float | None = None) -> ServerInfo:
        """Gets the server's configuration, without secrets, and its limits.

        `timeout` is in seconds.
        """
        return await self._call(calls.get_server_info(), timeout)

    async def get_version(self, *, timeout: float | None = None) -> Version:
        """Gets the versions of the server, its API, MLflow and Python. `timeout` is in seconds."""
        return await self._call(calls.get_version(), timeout)
