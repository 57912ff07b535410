"""Served models: what there is to see of them, and messages to that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mlflow_grpc._convert import time_ms
from mlflow_grpc._enums import ReplicaState, ServedModelState
from mlflow_grpc.v1 import model_serving_service_pb2 as pb

_STATES: Mapping[int, ServedModelState] = MappingProxyType(
    {
        pb.SERVED_MODEL_STATE_DEPLOYING: ServedModelState.DEPLOYING,
        pb.SERVED_MODEL_STATE_READY: ServedModelState.READY,
        pb.SERVED_MODEL_STATE_DEGRADED: ServedModelState.DEGRADED,
        pb.SERVED_MODEL_STATE_FAILED: ServedModelState.FAILED,
        pb.SERVED_MODEL_STATE_DRAINING: ServedModelState.DRAINING,
    }
)
_REPLICA_STATES: Mapping[int, ReplicaState] = MappingProxyType(
    {
        pb.REPLICA_STATE_STARTING: ReplicaState.STARTING,
        pb.REPLICA_STATE_READY: ReplicaState.READY,
        pb.REPLICA_STATE_BACKING_OFF: ReplicaState.BACKING_OFF,
        pb.REPLICA_STATE_FAILED: ReplicaState.FAILED,
        pb.REPLICA_STATE_DRAINING: ReplicaState.DRAINING,
    }
)


@dataclass(frozen=True, slots=True)
class Replica:
    """A process that holds a model."""

    state: ReplicaState
    pid: int | None
    """The id of the process on the server's machine; None while there is none."""
    restarts: int
    """How often it has been restarted."""
    last_failure: str
    """Why it last ended; empty if it never did."""


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A version of a model behind a name."""

    model_uri: str
    """The model as it was asked for."""
    resolved_uri: str
    """What that meant when it was last resolved."""
    weight: int
    """Its share of the calls, relative to the others'; 0 while it is not called."""
    replicas: tuple[Replica, ...]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that predictions can be asked of."""

    name: str
    state: ServedModelState
    state_reason: str
    """Why it is DEGRADED or FAILED; empty otherwise."""
    log_lines: tuple[str, ...]
    """The last lines that the replica behind `state_reason` wrote."""
    versions: tuple[ServedVersion, ...]
    replicas: int
    """How many replicas each version has."""
    environment: tuple[str, ...]
    """The names of the environment variables given."""
    memory_limit_bytes: int | None
    """The memory limit of a replica; None if there is none."""
    predict_timeout: float
    """The longest that a prediction may take, in seconds."""
    concurrency: int
    """How many predictions a replica makes at one time."""
    max_batch_calls: int
    """How many waiting calls may be made of the model as one."""
    creation_time: int | None
    """In milliseconds since the epoch."""
    last_update_time: int | None
    """In milliseconds since the epoch."""


def served_model(message: pb.ServedModel) -> ServedModel:
    """A served model."""
    return ServedModel(
        name=message.name,
        state=_STATES.get(message.state, ServedModelState.UNKNOWN),
        state_reason=message.state_reason,
        log_lines=tuple(message.log_lines),
        versions=tuple(map(_version, message.versions)),
        replicas=message.replicas,
        environment=tuple(message.environment),
        memory_limit_bytes=message.memory_limit_bytes or None,
        predict_timeout=message.predict_timeout.ToNanoseconds() / 1e9,
        concurrency=message.concurrency,
        max_batch_calls=message.max_batch_calls,
        creation_time=time_ms(message, "create_time"),
        last_update_time=time_ms(message, "update_time"),
    )


def _version(message: pb.ServedVersion) -> ServedVersion:
    return ServedVersion(
        model_uri=message.model_uri,
        resolved_uri=message.resolved_uri,
        weight=message.weight,
        replicas=tuple(
            Replica(
                state=_REPLICA_STATES.get(replica.state, ReplicaState.UNKNOWN),
                pid=replica.pid or None,
                restarts=replica.restarts,
                last_failure=replica.last_failure,
            )
            for replica in message.replicas
        ),
    )
