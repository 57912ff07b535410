"""The calls of ModelServingService."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from mlflow_grpc import _payloads as payloads
from mlflow_grpc._calls.call import Call, Service, done
from mlflow_grpc._enums import ServedModelState
from mlflow_grpc._errors import FailedPreconditionError
from mlflow_grpc._served import ServedModel, served_model
from mlflow_grpc.v1 import model_serving_service_pb2 as pb

_call = Service(pb.DESCRIPTOR.services_by_name["ModelServingService"])


def deploy_model(
    name: str,
    model: str | Mapping[str, int],
    replicas: int | None,
    environment: Mapping[str, str] | None,
    memory_limit_bytes: int | None,
    predict_timeout: float | None,
    concurrency: int | None,
    max_batch_calls: int | None,
    wait_until_ready: bool,
) -> Call[ServedModel]:
    request = pb.DeployModelRequest(
        name=name,
        replicas=replicas or 0,
        environment=[
            pb.EnvironmentVariable(name=key, value=value)
            for key, value in (environment or {}).items()
        ],
        memory_limit_bytes=memory_limit_bytes or 0,
        predict_timeout=None if predict_timeout is None else _duration(predict_timeout),
        concurrency=concurrency or 0,
        max_batch_calls=max_batch_calls or 0,
        wait_until_ready=wait_until_ready,
    )
    if isinstance(model, str):
        request.model_uri = model
    else:
        for uri, weight in model.items():
            request.models.add(model_uri=uri, weight=weight)
    return _call(request, pb.DeployModelResponse, lambda r: served_model(r.served_model))


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def list_served_models() -> Call[list[ServedModel]]:
    return _call(
        pb.ListServedModelsRequest(),
        pb.ListServedModelsResponse,
        lambda r: list(map(served_model, r.served_models)),
    )


def get_served_model(name: str) -> Call[ServedModel]:
    return _call(
        pb.GetServedModelRequest(name=name),
        pb.GetServedModelResponse,
        lambda r: served_model(r.served_model),
    )


def watch_served_model(name: str) -> Call[ServedModel]:
    return _call(
        pb.WatchServedModelRequest(name=name),
        pb.WatchServedModelResponse,
        lambda r: served_model(r.served_model),
    )


def is_ready(model: ServedModel) -> bool:
    """Whether a model is READY; `FailedPreconditionError` if it is FAILED."""
    if model.state is ServedModelState.FAILED:
        raise FailedPreconditionError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"the model {model.name!r} cannot be served: {model.state_reason}",
            reason="MODEL_NOT_LOADED",
            metadata={"name": model.name},
        )
    return model.state is ServedModelState.READY


def predict(name: str, data: Any, params: Mapping[str, Any] | None) -> Call[Any]:
    request, convert = payloads.predict_request(name, data, params)
    return _call(request, pb.PredictResponse, convert)


def predict_stream(name: str, data: Any, params: Mapping[str, Any] | None) -> Call[Any]:
    request = payloads.stream_request(name, data, params)
    return _call(request, pb.PredictStreamResponse, payloads.stream_item)


def undeploy_model(name: str) -> Call[None]:
    return _call(pb.UndeployModelRequest(name=name), pb.UndeployModelResponse, done)
