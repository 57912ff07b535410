"""Proto messages to the client's values and back: pure functions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mlflow_grpc._entities import (
    ComponentHealth,
    Dataset,
    DatasetInput,
    Experiment,
    Health,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    ModelVersion,
    RegisteredModel,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    ServerInfo,
    ServerLimits,
    Version,
)
from mlflow_grpc._enums import (
    Component,
    HealthState,
    LifecycleStage,
    ModelVersionStage,
    ModelVersionStatus,
    RunStatus,
    ViewType,
)
from mlflow_grpc.v1 import resources_pb2 as pb
from mlflow_grpc.v1 import status_service_pb2 as status_pb

A = TypeVar("A")
B = TypeVar("B")

RUN_STATUSES: Mapping[RunStatus, pb.RunStatus.ValueType] = MappingProxyType(
    {
        RunStatus.RUNNING: pb.RUN_STATUS_RUNNING,
        RunStatus.SCHEDULED: pb.RUN_STATUS_SCHEDULED,
        RunStatus.FINISHED: pb.RUN_STATUS_FINISHED,
        RunStatus.FAILED: pb.RUN_STATUS_FAILED,
        RunStatus.KILLED: pb.RUN_STATUS_KILLED,
    }
)
LIFECYCLE_STAGES: Mapping[LifecycleStage, pb.LifecycleStage.ValueType] = MappingProxyType(
    {
        LifecycleStage.ACTIVE: pb.LIFECYCLE_STAGE_ACTIVE,
        LifecycleStage.DELETED: pb.LIFECYCLE_STAGE_DELETED,
    }
)
VIEW_TYPES: Mapping[ViewType, pb.ViewType.ValueType] = MappingProxyType(
    {
        ViewType.ACTIVE_ONLY: pb.VIEW_TYPE_ACTIVE_ONLY,
        ViewType.DELETED_ONLY: pb.VIEW_TYPE_DELETED_ONLY,
        ViewType.ALL: pb.VIEW_TYPE_ALL,
    }
)
STAGES: Mapping[ModelVersionStage, pb.ModelVersionStage.ValueType] = MappingProxyType(
    {
        ModelVersionStage.NONE: pb.MODEL_VERSION_STAGE_NONE,
        ModelVersionStage.STAGING: pb.MODEL_VERSION_STAGE_STAGING,
        ModelVersionStage.PRODUCTION: pb.MODEL_VERSION_STAGE_PRODUCTION,
        ModelVersionStage.ARCHIVED: pb.MODEL_VERSION_STAGE_ARCHIVED,
    }
)
VERSION_STATUSES: Mapping[ModelVersionStatus, pb.ModelVersionStatus.ValueType] = MappingProxyType(
    {
        ModelVersionStatus.PENDING_REGISTRATION: pb.MODEL_VERSION_STATUS_PENDING_REGISTRATION,
        ModelVersionStatus.FAILED_REGISTRATION: pb.MODEL_VERSION_STATUS_FAILED_REGISTRATION,
        ModelVersionStatus.READY: pb.MODEL_VERSION_STATUS_READY,
    }
)
COMPONENTS: Mapping[Component, status_pb.Component.ValueType] = MappingProxyType(
    {
        Component.SERVER: status_pb.COMPONENT_SERVER,
        Component.TRACKING_STORE: status_pb.COMPONENT_TRACKING_STORE,
        Component.MODEL_REGISTRY: status_pb.COMPONENT_MODEL_REGISTRY,
        Component.ARTIFACT_STORE: status_pb.COMPONENT_ARTIFACT_STORE,
    }
)
HEALTH_STATES: Mapping[HealthState, status_pb.HealthState.ValueType] = MappingProxyType(
    {
        HealthState.HEALTHY: status_pb.HEALTH_STATE_HEALTHY,
        HealthState.UNHEALTHY: status_pb.HEALTH_STATE_UNHEALTHY,
        HealthState.DRAINING: status_pb.HEALTH_STATE_DRAINING,
    }
)


def _inverse(table: Mapping[A, B]) -> Mapping[B, A]:
    return MappingProxyType({number: name for name, number in table.items()})


_RUN_STATUSES = _inverse(RUN_STATUSES)
_LIFECYCLE_STAGES = _inverse(LIFECYCLE_STAGES)
_STAGES = _inverse(STAGES)
_VERSION_STATUSES = _inverse(VERSION_STATUSES)
_COMPONENTS = _inverse(COMPONENTS)
_HEALTH_STATES = _inverse(HEALTH_STATES)


# To proto.


def now_ms() -> int:
    """The time, in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def run_status_to_proto(status: RunStatus | str) -> pb.RunStatus.ValueType:
    """`ValueError` if there is no such status."""
    return _number(RUN_STATUSES, RunStatus(status))


def view_type_to_proto(view_type: ViewType | str) -> pb.ViewType.ValueType:
    """`ValueError` if there is no such view type."""
    return _number(VIEW_TYPES, ViewType(view_type))


def stage_to_proto(stage: ModelVersionStage | str) -> pb.ModelVersionStage.ValueType:
    """`ValueError` if there is no such stage."""
    return _number(STAGES, ModelVersionStage(stage))


def _number(table: Mapping[A, B], name: A) -> B:
    try:
        return table[name]
    except KeyError:
        raise ValueError(f"{name} is not one of {', '.join(map(str, table))}") from None


def time_to_proto(milliseconds: int | None) -> Timestamp | None:
    """A time given in milliseconds since the epoch."""
    if milliseconds is None:
        return None
    seconds, rest = divmod(milliseconds, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)


def tags_to_proto(tags: Mapping[str, object] | None) -> list[pb.Tag]:
    """Values that are not strings are written as `str` writes them."""
    return [pb.Tag(key=key, value=str(value)) for key, value in (tags or {}).items()]


def params_to_proto(params: Mapping[str, object] | None) -> list[pb.Param]:
    """Values that are not strings are written as `str` writes them."""
    return [pb.Param(key=key, value=str(value)) for key, value in (params or {}).items()]


def metric_to_proto(metric: Metric, now: int) -> pb.Metric:
    """`now` stamps a point without a time. Unstamped points are never sent, because one sent
    twice would be stored as two."""
    return pb.Metric(
        key=metric.key,
        value=float(metric.value),
        timestamp_ms=now if metric.timestamp is None else metric.timestamp,
        step=metric.step,
        dataset_name=metric.dataset_name or "",
        dataset_digest=metric.dataset_digest or "",
        model_id=metric.model_id or "",
    )


def dataset_input_to_proto(used: DatasetInput) -> pb.DatasetInput:
    """The inverse of `dataset_input`."""
    dataset = used.dataset
    return pb.DatasetInput(
        tags=tags_to_proto(used.tags),
        dataset=pb.Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema,
            profile=dataset.profile,
        ),
    )


# From proto.


def time_ms(message: Message, field: str) -> int | None:
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.seconds * 1000 + stamp.nanos // 1_000_000


def _pairs(pairs: Iterable[pb.Tag] | Iterable[pb.Param]) -> dict[str, str]:
    return {pair.key: pair.value for pair in pairs}


def experiment(message: pb.Experiment) -> Experiment:
    return Experiment(
        experiment_id=message.experiment_id,
        name=message.name,
        artifact_location=message.artifact_location,
        lifecycle_stage=_LIFECYCLE_STAGES.get(message.lifecycle_stage, LifecycleStage.UNKNOWN),
        tags=_pairs(message.tags),
        creation_time=time_ms(message, "create_time"),
        last_update_time=time_ms(message, "update_time"),
        description=message.description,
    )


def metric(message: pb.Metric) -> Metric:
    return Metric(
        key=message.key,
        value=message.value,
        timestamp=message.timestamp_ms if message.HasField("timestamp_ms") else None,
        step=message.step,
        model_id=message.model_id or None,
        dataset_name=message.dataset_name or None,
        dataset_digest=message.dataset_digest or None,
    )


def dataset_input(message: pb.DatasetInput) -> DatasetInput:
    dataset = message.dataset
    return DatasetInput(
        dataset=Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema,
            profile=dataset.profile,
        ),
        tags=_pairs(message.tags),
    )


def run_info(message: pb.RunInfo) -> RunInfo:
    return RunInfo(
        run_id=message.run_id,
        run_name=message.run_name,
        experiment_id=message.experiment_id,
        user_id=message.user_id,
        status=_RUN_STATUSES.get(message.status, RunStatus.UNKNOWN),
        start_time=time_ms(message, "start_time"),
        end_time=time_ms(message, "end_time"),
        artifact_uri=message.artifact_uri,
        lifecycle_stage=_LIFECYCLE_STAGES.get(message.lifecycle_stage, LifecycleStage.UNKNOWN),
    )


def run(message: pb.Run) -> Run:
    latest = {point.key: metric(point) for point in message.data.metrics}
    return Run(
        info=run_info(message.info),
        data=RunData(
            metrics={key: point.value for key, point in latest.items()},
            params=_pairs(message.data.params),
            tags=_pairs(message.data.tags),
            latest_metrics=latest,
        ),
        inputs=RunInputs(
            dataset_inputs=tuple(map(dataset_input, message.inputs.datasets)),
            model_inputs=tuple(LoggedModelInput(model.model_id) for model in message.inputs.models),
        ),
        outputs=RunOutputs(
            model_outputs=tuple(
                LoggedModelOutput(model.model_id, model.step) for model in message.outputs.models
            ),
        ),
    )


def model_version(message: pb.ModelVersion) -> ModelVersion:
    return ModelVersion(
        name=message.name,
        version=message.version,
        creation_timestamp=time_ms(message, "create_time"),
        last_updated_timestamp=time_ms(message, "update_time"),
        description=message.description,
        user_id=message.user_id or None,
        current_stage=_STAGES.get(message.current_stage, ModelVersionStage.UNKNOWN),
        source=message.source,
        run_id=message.run_id or None,
        status=_VERSION_STATUSES.get(message.status, ModelVersionStatus.UNKNOWN),
        status_message=message.status_message,
        tags=_pairs(message.tags),
        run_link=message.run_link or None,
        aliases=tuple(message.aliases),
        model_id=message.model_id or None,
    )


def registered_model(message: pb.RegisteredModel) -> RegisteredModel:
    return RegisteredModel(
        name=message.name,
        creation_timestamp=time_ms(message, "create_time"),
        last_updated_timestamp=time_ms(message, "update_time"),
        description=message.description,
        latest_versions=tuple(map(model_version, message.latest_versions)),
        tags=_pairs(message.tags),
        aliases={alias.alias: alias.version for alias in message.aliases},
    )


def health(message: status_pb.GetHealthResponse) -> Health:
    return Health(
        state=_HEALTH_STATES.get(message.state, HealthState.UNKNOWN),
        components=tuple(
            ComponentHealth(
                component=_COMPONENTS.get(part.component, Component.UNKNOWN),
                state=_HEALTH_STATES.get(part.state, HealthState.UNKNOWN),
                latency=part.latency.seconds + part.latency.nanos / 1e9,
                message=part.message,
            )
            for part in message.components
        ),
    )


def server_info(message: status_pb.GetServerInfoResponse) -> ServerInfo:
    limits = message.limits
    return ServerInfo(
        address=message.address,
        backend_store_uri=message.backend_store_uri,
        registry_store_uri=message.registry_store_uri,
        default_artifact_root=message.default_artifact_root,
        artifacts_destination=message.artifacts_destination,
        start_time=time_ms(message, "start_time"),
        limits=ServerLimits(
            max_request_bytes=limits.max_request_bytes,
            max_page_bytes=limits.max_page_bytes,
            max_metrics_per_request=limits.max_metrics_per_request,
            max_params_per_request=limits.max_params_per_request,
            max_tags_per_request=limits.max_tags_per_request,
            max_concurrent_store_calls=limits.max_concurrent_store_calls,
            max_waiting_store_calls=limits.max_waiting_store_calls,
        ),
        features=tuple(message.features),
    )


def version(message: status_pb.GetVersionResponse) -> Version:
    return Version(
        server_version=message.server_version,
        api_version=message.api_version,
        mlflow_version=message.mlflow_version,
        python_version=message.python_version,
    )
