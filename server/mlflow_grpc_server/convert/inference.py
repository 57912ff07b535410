"""The Open Inference Protocol's messages, from and to those of ModelServingService."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mlflow_grpc._structs import to_struct
from mlflow_grpc._tensors import DATATYPES, pack_bytes
from mlflow_grpc.v1 import model_serving_service_pb2 as serving_pb
from mlflow_grpc_server.convert.serving import served_name
from mlflow_grpc_server.exceptions import InvalidFieldError
from mlflow_grpc_server.inference import open_inference_pb2 as pb
from mlflow_grpc_server.serving.spec import (
    Answer,
    ModelState,
    ReplicaState,
    Served,
    Spec,
    TensorInfo,
    TensorInfos,
    WeightedUri,
)

__all__ = [
    "index",
    "infer_response",
    "is_ready",
    "metadata",
    "predict_request",
    "spec_to_load",
]

_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_STATES = {
    ModelState.DEPLOYING: "LOADING",
    ModelState.READY: "READY",
    ModelState.DEGRADED: "READY",
    ModelState.FAILED: "UNAVAILABLE",
    ModelState.DRAINING: "UNLOADING",
}
_MOST_REPLICAS = 64


def predict_request(request: pb.ModelInferRequest) -> serving_pb.PredictRequest:
    """Return the same question as ModelServingService takes it."""
    name = served_name(request.model_name, "model_name")
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidFieldError(
            "raw_input_contents",
            f"has {len(raw)} entries, and there are {len(request.inputs)} inputs",
        )
    tensors = serving_pb.Tensors()
    for at, given in enumerate(request.inputs):
        data = raw[at] if raw else _contents(given, f"inputs[{at}]")
        tensors.tensors.add(name=given.name, datatype=given.datatype, shape=given.shape, data=data)
    asked = serving_pb.PredictRequest(name=name, tensors=tensors)
    if request.parameters:
        params = {key: _parameter(value) for key, value in request.parameters.items()}
        asked.params.CopyFrom(to_struct(params))
    return asked


def _contents(given: pb.ModelInferRequest.InferInputTensor, field: str) -> bytes:
    """Return the elements of a tensor that are given in the field for their type."""
    name = _CONTENTS.get(given.datatype)
    if name is None:
        known = ", ".join(_CONTENTS)
        raise InvalidFieldError(f"{field}.datatype", f"{given.datatype!r} is not one of {known}")
    elements = getattr(given.contents, name)
    if given.datatype == "BYTES":
        return pack_bytes(elements)
    try:
        return np.array(elements, np.dtype(DATATYPES[given.datatype])).tobytes()
    except OverflowError as error:
        raise InvalidFieldError(
            f"{field}.contents", f"has an element that is no {given.datatype}"
        ) from error


def _parameter(value: Any) -> Any:
    chosen = value.WhichOneof("parameter_choice")
    return getattr(value, chosen) if chosen else None


def infer_response(request: pb.ModelInferRequest, answer: Answer) -> pb.ModelInferResponse:
    """Return an answer of ModelServingService in the protocol's own message."""
    tensors = serving_pb.PredictResponse.FromString(answer.payload).tensors.tensors
    found = {tensor.name: tensor for tensor in tensors}
    response = pb.ModelInferResponse(
        model_name=request.model_name, model_version=_version(answer.model_uri), id=request.id
    )
    wanted = [output.name for output in request.outputs] or list(found)
    for at, name in enumerate(wanted):
        if name not in found:
            raise InvalidFieldError(
                f"outputs[{at}].name", f"{name!r} is not an output: {', '.join(found)}"
            )
        tensor = found[name]
        response.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(tensor.data)
    return response


def _version(resolved_uri: str) -> str:
    return resolved_uri.rpartition("/")[2]


def is_ready(served: Served, version: str) -> bool:
    """Tell whether a replica of a version, or of any, takes calls."""
    return any(
        replica.state is ReplicaState.READY
        for one in served.versions
        if one.weight and version in ("", _version(one.resolved_uri))
        for replica in one.replicas
    )


def metadata(name: str, served: Served, infos: TensorInfos) -> pb.ModelMetadataResponse:
    """Return the inputs and outputs of a served model."""
    return pb.ModelMetadataResponse(
        name=name,
        versions=[_version(one.resolved_uri) for one in served.versions if one.weight],
        platform="mlflow_pyfunc",
        inputs=map(_info, infos.inputs),
        outputs=map(_info, infos.outputs),
    )


def _info(info: TensorInfo) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=info.name, datatype=info.datatype, shape=info.shape
    )


def index(
    served: Sequence[Served], registered: Iterable[str], *, ready: bool
) -> pb.RepositoryIndexResponse:
    """Return the served models, and the registered ones that are not served."""
    entry = pb.RepositoryIndexResponse.ModelIndex
    entries = [
        entry(
            name=one.spec.name,
            version=_version(version.resolved_uri),
            state=_STATES[one.state],
            reason=one.reason,
        )
        for one in served
        for version in one.versions
    ]
    empty = [one for one in served if not one.versions]
    entries += [
        entry(name=one.spec.name, state=_STATES[one.state], reason=one.reason) for one in empty
    ]
    if ready:
        entries = [one for one in entries if one.state == "READY"]
    else:
        names = {one.spec.name for one in served}
        entries += [
            entry(name=name, state="UNAVAILABLE", reason="not loaded")
            for name in registered
            if name not in names
        ]
    return pb.RepositoryIndexResponse(models=sorted(entries, key=lambda one: one.name))


def spec_to_load(request: pb.RepositoryModelLoadRequest, before: Spec | None) -> Spec:
    """Return what to deploy: what is deployed already, or the newest version of the name."""
    name = served_name(request.model_name, "model_name")
    given = _load_parameters(request)
    # A target tells of what others have deployed there its name alone.
    if not given and before is not None and before.models:
        return before
    uri = given.get("model_uri", f"models:/{name}/latest")
    replicas = given.get("replicas", 1)
    if not isinstance(uri, str):
        raise InvalidFieldError("parameters", "model_uri must be a string")
    if not isinstance(replicas, int) or not 1 <= replicas <= _MOST_REPLICAS:
        raise InvalidFieldError("parameters", f"replicas must be 1 to {_MOST_REPLICAS}")
    return Spec(name, (WeightedUri(uri),), replicas)


def _load_parameters(request: pb.RepositoryModelLoadRequest) -> dict[str, Any]:
    given = {key: _parameter(value) for key, value in request.parameters.items()}
    if isinstance(config := given.pop("config", None), str):
        try:
            given |= dict(json.loads(config))
        except (ValueError, TypeError) as error:
            raise InvalidFieldError("parameters", "config is not a JSON object") from error
    if unknown := sorted(given.keys() - {"model_uri", "replicas"}):
        raise InvalidFieldError("parameters", f"{unknown[0]!r} is neither model_uri nor replicas")
    return given
