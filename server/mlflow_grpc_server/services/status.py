"""StatusService."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

import mlflow

from mlflow_grpc.v1 import status_service_pb2 as pb
from mlflow_grpc.v1.status_service_pb2_grpc import StatusServiceServicer
from mlflow_grpc_server import __version__
from mlflow_grpc_server.convert import status
from mlflow_grpc_server.health import Monitor
from mlflow_grpc_server.services.context import Context

__all__ = ["StatusServicer"]


class StatusServicer(StatusServiceServicer):
    """How the server is, what it is set to, and what it is made of."""

    def __init__(self, monitor: Monitor, info: Callable[[], pb.GetServerInfoResponse]) -> None:
        self._monitor = monitor
        self._info = info

    async def GetHealth(
        self, request: pb.GetHealthRequest, context: Context
    ) -> pb.GetHealthResponse:
        started = time.perf_counter()
        found = await self._monitor.check_all()
        seconds = time.perf_counter() - started
        return status.health_to_proto(found, seconds, draining=self._monitor.draining)

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Context
    ) -> pb.GetServerInfoResponse:
        return self._info()

    async def GetVersion(
        self, request: pb.GetVersionRequest, context: Context
    ) -> pb.GetVersionResponse:
        return pb.GetVersionResponse(
            server_version=__version__,
            api_version=pb.DESCRIPTOR.package,
            mlflow_version=mlflow.__version__,
            python_version=platform.python_version(),
        )
