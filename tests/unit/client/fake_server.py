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
    resources_pb2,
    run_service_pb2,
    status_service_pb2,
)

Answer = Callable[[Any, grpc.ServicerContext], Message]
Flow = Callable[[Any, grpc.ServicerContext], Iterator[Message]]
"""Answers with a stream: to a request, or to the iterator of those that come."""

LIMITS = run_service_pb2.StreamLimits(
    max_entries_per_message=25_000, max_messages_in_flight=64, max_message_bytes=32 * 2**20
)

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
    """Answers each method as `flows` or `answers` says, or else with an empty response."""

    target: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    flows: dict[str, Flow] = field(
        default_factory=lambda: {"StreamMetrics": acknowledge, "WatchRun": watch_nothing}
    )
    calls: list[Recorded] = field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        name = handler_call_details.method.rpartition("/")[2]
        method = METHODS[name]
        assert (
            handler_call_details.method == f"/{method.containing_service.full_name}/{method.name}"
        )
        response = GetMessageClass(method.output_type)

        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            metadata = {entry.key: entry.value for entry in context.invocation_metadata()}
            if name in self.flows:
                return self.flows[name](self._recorded(name, request, metadata, context), context)
            if method.client_streaming:
                request = _merged(GetMessageClass(method.input_type)(), request)
            self.calls.append(Recorded(name, request, metadata, context.time_remaining()))
            answer = self.answers.get(name)
            answered = response() if answer is None else answer(request, context)
            return iter([answered]) if method.server_streaming else answered

        kinds = ("unary", "stream")
        kind = f"{kinds[method.client_streaming]}_{kinds[method.server_streaming]}"
        return getattr(grpc, f"{kind}_rpc_method_handler")(
            handle,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=response.SerializeToString,
        )

    def _recorded(self, name: str, request: Any, metadata: dict[str, Any], context: Any) -> Any:
        """A request, or the iterator of those that come, each recorded as it arrives."""
        seconds_left = context.time_remaining()
        if isinstance(request, Message):
            self.calls.append(Recorded(name, request, metadata, seconds_left))
            return request

        def arriving() -> Iterator[Message]:
            for one in request:
                self.calls.append(Recorded(name, one, metadata, seconds_left))
                yield one

        return arriving()

    def requests(self, method: str) -> list[Any]:
        """The requests that a method got, in order."""
        return [call.request for call in self.calls if call.method == method]


def limits(**changed: int) -> run_service_pb2.StreamMetricsResponse:
    """The first message of a stream of metrics."""
    stated = run_service_pb2.StreamLimits()
    stated.CopyFrom(LIMITS)
    for name, value in changed.items():
        setattr(stated, name, value)
    return run_service_pb2.StreamMetricsResponse(limits=stated)


def ack(sequence: int) -> run_service_pb2.StreamMetricsResponse:
    """Everything up to a sequence is stored."""
    return run_service_pb2.StreamMetricsResponse(ack=run_service_pb2.StreamAck(sequence=sequence))


def acknowledge(requests: Any, context: grpc.ServicerContext) -> Iterator[Message]:
    """Takes everything that comes on a stream of metrics."""
    yield limits()
    for request in requests:
        yield ack(request.sequence)


def watch_nothing(request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
    """A run that has ended."""
    run = resources_pb2.Run(info=resources_pb2.RunInfo(run_id=request.run_id))
    yield run_service_pb2.WatchRunResponse(snapshot=run, cursor="1")
    yield run_service_pb2.WatchRunResponse(end=run, cursor="2")


def _merged(whole: Message, requests: Iterator[Message]) -> Message:
    """The messages of a stream as one."""
    for request in requests:
        whole.MergeFrom(request)
    return whole


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
