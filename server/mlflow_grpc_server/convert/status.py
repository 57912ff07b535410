"""Health, configuration and versions."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from mlflow.utils import validation

from mlflow_grpc.v1 import status_service_pb2 as pb
from mlflow_grpc.v1.status_service_pb2 import Component as ComponentNumber
from mlflow_grpc.v1.status_service_pb2 import HealthState
from mlflow_grpc_server.convert import fields, pages
from mlflow_grpc_server.health import Component, Health
from mlflow_grpc_server.settings import Settings
from mlflow_grpc_server.tracking.uris import redact

__all__ = ["MAX_REQUEST_BYTES", "health_to_proto", "info_to_proto"]

# Holds the largest dataset profile that MLflow takes.
MAX_REQUEST_BYTES = 32 * 2**20

_NUMBERS = {
    Component.TRACKING_STORE: ComponentNumber.COMPONENT_TRACKING_STORE,
    Component.MODEL_REGISTRY: ComponentNumber.COMPONENT_MODEL_REGISTRY,
    Component.ARTIFACT_STORE: ComponentNumber.COMPONENT_ARTIFACT_STORE,
}


def health_to_proto(
    found: Sequence[Health], server_seconds: float, *, draining: bool
) -> pb.GetHealthResponse:
    """Return what the checks found, with the server itself as the first component."""
    server_state = (
        HealthState.HEALTH_STATE_DRAINING if draining else HealthState.HEALTH_STATE_HEALTHY
    )
    unhealthy = any(one.fault for one in found)
    return pb.GetHealthResponse(
        state=HealthState.HEALTH_STATE_UNHEALTHY if unhealthy else server_state,
        components=[
            pb.ComponentHealth(
                component=ComponentNumber.COMPONENT_SERVER,
                state=server_state,
                latency=_duration(server_seconds),
            ),
            *(
                pb.ComponentHealth(
                    component=_NUMBERS[one.component],
                    state=HealthState.HEALTH_STATE_UNHEALTHY
                    if one.fault
                    else HealthState.HEALTH_STATE_HEALTHY,
                    latency=_duration(one.seconds),
                    message=one.fault,
                )
                for one in found
            ),
        ],
    )


def info_to_proto(
    settings: Settings, port: int, start_ms: int, services: Sequence[str]
) -> pb.GetServerInfoResponse:
    """Return the configuration in effect, without secrets."""
    return pb.GetServerInfoResponse(
        address=f"{settings.host}:{port}",
        backend_store_uri=redact(settings.backend_store_uri),
        registry_store_uri=redact(settings.registry_uri),
        default_artifact_root=redact(settings.artifact_root),
        artifacts_destination=redact(settings.artifacts_destination),
        start_time=fields.time_to_proto(start_ms),
        limits=pb.ServerLimits(
            max_request_bytes=MAX_REQUEST_BYTES,
            max_page_bytes=pages.MAX_PAGE_BYTES,
            max_metrics_per_request=validation.MAX_METRICS_PER_BATCH,
            max_params_per_request=validation.MAX_PARAMS_TAGS_PER_BATCH,
            max_tags_per_request=validation.MAX_PARAMS_TAGS_PER_BATCH,
            max_concurrent_store_calls=settings.store_threads,
            max_waiting_store_calls=settings.store_queue,
        ),
        features=sorted(services),
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 10**9))
    return duration
