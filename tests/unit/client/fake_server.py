"""A real gRPC server, in this process, that answers whatever a test says and records calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mlflow_grpc.v1 import (
    experiment_service_pb2,
    model_registry_service_pb2,
    model_serving_service_pb2,
    run_service_pb2,
    status_service_pb2,
)

Answer = Callable[[Any, grpc.ServicerContext], Message]

METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for module in (
        experiment_service_pb2,
        model_registry_service_pb2,
        model_serving_service_pb2,
        run_service_pb2,
        status_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@dataclass(frozen=True)
class Recorded:
    """A call that reached the server."""

    method: str
    request: Any
    metadata: dict[str, Any]
    seconds_left: float | None


@dataclass
class FakeServer(grpc.GenericRpcHandler):
    """Answers each method as `answers` says, or else with an empty response.

    A stream of responses holds one.
    """

    target: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[Recorded] = field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        name = handler_call_details.method.rpartition("/")[2]
        method = METHODS[name]
        assert (
            handler_call_details.method == f"/{method.containing_service.full_name}/{method.name}"
        )
        response = GetMessageClass(method.output_type)

        def handle(request: Message, context: grpc.ServicerContext) -> Message:
            metadata = {entry.key: entry.value for entry in context.invocation_metadata()}
            self.calls.append(Recorded(name, request, metadata, context.time_remaining()))
            answer = self.answers.get(name)
            return response() if answer is None else answer(request, context)

        def handle_stream(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
            yield handle(request, context)

        serializers = {
            "request_deserializer": GetMessageClass(method.input_type).FromString,
            "response_serializer": response.SerializeToString,
        }
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(handle_stream, **serializers)
        return grpc.unary_unary_rpc_method_handler(handle, **serializers)

    def requests(self, method: str) -> list[Any]:
        """The requests that a method got, in order."""
        return [call.request for call in self.calls if call.method == method]


@contextmanager
def serving() -> Iterator[FakeServer]:
    """A fake server on a port that the kernel chose."""
    fake = FakeServer()
    with ThreadPoolExecutor(max_workers=8) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers([fake])
        port = server.add_insecure_port("127.0.0.1:0")
        fake.target = f"127.0.0.1:{port}"
        server.start()
        try:
            yield fake
        finally:
            server.stop(None).wait()
