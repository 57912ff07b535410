"""Served models: requests to what is to be deployed, and what is deployed to messages."""

from __future__ import annotations

import re

from google.protobuf.duration_pb2 import Duration

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from mlflow_grpc_server.convert import fields
from mlflow_grpc_server.exceptions import InvalidFieldError
from mlflow_grpc_server.serving.spec import (
    DEFAULT_PREDICT_SECONDS,
    ModelState,
    ReplicaState,
    Served,
    Spec,
    VersionView,
    WeightedUri,
)

__all__ = ["served_name", "served_to_proto", "spec_to_deploy"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,249}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,249}")
_MOST_URI, _MOST_VALUE = 1000, 32_000
_MOST_MODELS, _MOST_WEIGHT, _MOST_REPLICAS, _MOST_CONCURRENCY = 10, 1000, 64, 64
_MOST_VARIABLES, _MOST_BATCH_CALLS = 100, 1000
_LEAST_MEMORY = 64 * 2**20
_LONGEST_PREDICT_SECONDS = 3600

_STATES = {
    ModelState.DEPLOYING: pb.SERVED_MODEL_STATE_DEPLOYING,
    ModelState.READY: pb.SERVED_MODEL_STATE_READY,
    ModelState.DEGRADED: pb.SERVED_MODEL_STATE_DEGRADED,
    ModelState.FAILED: pb.SERVED_MODEL_STATE_FAILED,
    ModelState.DRAINING: pb.SERVED_MODEL_STATE_DRAINING,
}
_REPLICA_STATES = {
    ReplicaState.STARTING: pb.REPLICA_STATE_STARTING,
    ReplicaState.READY: pb.REPLICA_STATE_READY,
    ReplicaState.BACKING_OFF: pb.REPLICA_STATE_BACKING_OFF,
    ReplicaState.FAILED: pb.REPLICA_STATE_FAILED,
    ReplicaState.DRAINING: pb.REPLICA_STATE_DRAINING,
}


def served_name(value: str, field: str = "name") -> str:
    """Return the name of a served model."""
    if not value:
        raise InvalidFieldError(field, "is required")
    if not _NAME.fullmatch(value):
        raise InvalidFieldError(
            field,
            f"{fields.shown(value)} is not a name to serve under (1 to 250 letters, digits, '.', "
            "'_' and '-', starting with a letter or digit)",
        )
    return value


def spec_to_deploy(request: pb.DeployModelRequest) -> Spec:
    """Return what to deploy."""
    memory_limit = request.memory_limit_bytes
    if memory_limit and memory_limit < _LEAST_MEMORY:
        raise InvalidFieldError("memory_limit_bytes", f"must be 0 or at least {_LEAST_MEMORY:,}")
    return Spec(
        name=served_name(request.name),
        models=_models(request),
        replicas=_count("replicas", request.replicas, _MOST_REPLICAS),
        environment=_environment(request),
        memory_limit=memory_limit,
        predict_timeout=_predict_timeout(request),
        concurrency=_count("concurrency", request.concurrency, _MOST_CONCURRENCY),
        max_batch_calls=_max_batch_calls(request.max_batch_calls),
    )


def _models(request: pb.DeployModelRequest) -> tuple[WeightedUri, ...]:
    if bool(request.model_uri) == bool(request.models):
        raise InvalidFieldError("model_uri", "exactly one of model_uri and models is required")
    if request.model_uri:
        return (WeightedUri(fields.text("model_uri", request.model_uri, _MOST_URI)),)
    fields.at_most("models", request.models, _MOST_MODELS)
    found: dict[str, WeightedUri] = {}
    for index, model in enumerate(request.models):
        path = f"models[{index}]"
        uri = fields.text(f"{path}.model_uri", model.model_uri, _MOST_URI, required=True)
        if uri in found:
            raise InvalidFieldError(f"{path}.model_uri", f"{uri!r} is given twice")
        if not 1 <= model.weight <= _MOST_WEIGHT:
            raise InvalidFieldError(f"{path}.weight", f"must be 1 to {_MOST_WEIGHT:,}")
        found[uri] = WeightedUri(uri, model.weight)
    return tuple(found.values())


def _count(field: str, value: int, most: int) -> int:
    if not 0 <= value <= most:
        raise InvalidFieldError(field, f"must be 1 to {most}, or 0 for the default of 1")
    return value or 1


def _max_batch_calls(value: int) -> int:
    if not 0 <= value <= _MOST_BATCH_CALLS:
        text = f"must be 1 to {_MOST_BATCH_CALLS}, or 0 to leave it to the model"
        raise InvalidFieldError("max_batch_calls", text)
    return value


def _environment(request: pb.DeployModelRequest) -> dict[str, str]:
    fields.at_most("environment", request.environment, _MOST_VARIABLES)
    found: dict[str, str] = {}
    for index, variable in enumerate(request.environment):
        path = f"environment[{index}]"
        if not _VARIABLE.fullmatch(variable.name):
            raise InvalidFieldError(
                f"{path}.name", f"{fields.shown(variable.name)} is not the name of a variable"
            )
        if variable.name in found:
            raise InvalidFieldError(f"{path}.name", f"{variable.name!r} is given twice")
        found[variable.name] = fields.text(f"{path}.value", variable.value, _MOST_VALUE)
    return found


def _predict_timeout(request: pb.DeployModelRequest) -> float:
    if not request.HasField("predict_timeout"):
        return DEFAULT_PREDICT_SECONDS
    given = request.predict_timeout
    seconds: float = given.seconds + given.nanos / 1e9
    if not 0 < seconds <= _LONGEST_PREDICT_SECONDS:
        raise InvalidFieldError(
            "predict_timeout", f"must be above 0 and at most {_LONGEST_PREDICT_SECONDS:,} seconds"
        )
    return seconds


def served_to_proto(served: Served) -> pb.ServedModel:
    """Return a served model as a message, without the values of its environment."""
    spec = served.spec
    timeout = Duration()
    timeout.FromNanoseconds(round(spec.predict_timeout * 1e9))
    return pb.ServedModel(
        name=spec.name,
        state=_STATES[served.state],
        state_reason=served.reason,
        log_lines=served.log_lines,
        versions=map(_version_to_proto, served.versions),
        replicas=spec.replicas,
        environment=sorted(spec.environment),
        memory_limit_bytes=spec.memory_limit,
        predict_timeout=timeout,
        concurrency=spec.concurrency,
        max_batch_calls=spec.max_batch_calls,
        create_time=fields.time_to_proto(served.create_time_ms),
        update_time=fields.time_to_proto(served.update_time_ms),
    )


def _version_to_proto(version: VersionView) -> pb.ServedVersion:
    return pb.ServedVersion(
        model_uri=version.uri,
        resolved_uri=version.resolved_uri,
        weight=version.weight,
        replicas=[
            pb.Replica(
                state=_REPLICA_STATES[replica.state],
                pid=replica.pid,
                restarts=replica.restarts,
                last_failure=replica.last_failure,
            )
            for replica in version.replicas
        ],
    )
