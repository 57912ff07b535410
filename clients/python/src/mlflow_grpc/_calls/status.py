"""The calls of StatusService."""

from __future__ import annotations

from mlflow_grpc import _convert as convert
from mlflow_grpc._calls.call import Call, Service
from mlflow_grpc._entities import Health, ServerInfo, Version
from mlflow_grpc.v1 import status_service_pb2 as pb

_call = Service(pb.DESCRIPTOR.services_by_name["StatusService"])


def get_health() -> Call[Health]:
    return _call(pb.GetHealthRequest(), pb.GetHealthResponse, convert.health)


def get_server_info() -> Call[ServerInfo]:
    return _call(pb.GetServerInfoRequest(), pb.GetServerInfoResponse, convert.server_info)


def get_version() -> Call[Version]:
    return _call(pb.GetVersionRequest(), pb.GetVersionResponse, convert.version)
