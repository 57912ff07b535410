"""Calls by name over the generated stubs, and what a failed call says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from mlflow_grpc.v1 import (
    experiment_service_pb2,
    model_registry_service_pb2,
    model_serving_service_pb2,
    run_service_pb2,
    status_service_pb2,
)

__all__ = ["Failure", "Rpcs", "methods"]

_FILES = (
    status_service_pb2,
    experiment_service_pb2,
    run_service_pb2,
    model_registry_service_pb2,
    model_serving_service_pb2,
)


def methods() -> Iterator[MethodDescriptor]:
    """Yield every RPC of the API."""
    for file in _FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            yield from service.methods


@dataclass(frozen=True)
class Failure:
    """A failed call: its code and its google.rpc details."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    retry_seconds: float | None = None
    request_id: str = ""


class Rpcs:
    """Calls by the RPC's name, with requests as JSON-like dicts."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._methods = {method.name: method for method in methods()}

    def __call__(self, name: str, /, **request: Any) -> Any:
        method = self._methods[name]
        message = json_format.ParseDict(request, GetMessageClass(method.input_type)())
        return self.send(method, message)

    def send(self, method: MethodDescriptor, message: Message, **options: Any) -> Any:
        """Make a call; a stream of requests has just this one, one of responses becomes a list."""
        kinds = ("unary", "stream")
        kind = f"{kinds[method.client_streaming]}_{kinds[method.server_streaming]}"
        call = getattr(self._channel, kind)(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        response = call(
            iter([message]) if method.client_streaming else message, timeout=30, **options
        )
        return list(response) if method.server_streaming else response

    def failure(self, name: str, /, **request: Any) -> Failure:
        """Make a call that must fail, and return how it did."""
        try:
            response = self(name, **request)
        except grpc.RpcError as error:
            return describe(error)
        raise AssertionError(f"{name} with {request} gave {response}")


def describe(error: Any) -> Failure:
    """Return what a failed call says."""
    parts: dict[str, Any] = {}
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            parts |= {"reason": info.reason, "domain": info.domain, "metadata": dict(info.metadata)}
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest.FromString(detail.value)
            parts["fields"] = tuple(violation.field for violation in bad.field_violations)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo.FromString(detail.value)
            parts["retry_seconds"] = retry.retry_delay.ToNanoseconds() / 1e9
        elif detail.Is(error_details_pb2.RequestInfo.DESCRIPTOR):
            request = error_details_pb2.RequestInfo.FromString(detail.value)
            parts["request_id"] = request.request_id
    return Failure(error.code(), error.details(), **parts)
