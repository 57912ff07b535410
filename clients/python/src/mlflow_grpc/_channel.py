"""What both clients tell gRPC about the channel: limits, keepalive and retries."""

from __future__ import annotations

import json
import os

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from mlflow_grpc._config import ClientConfig
from mlflow_grpc.v1 import (
    experiment_service_pb2,
    model_registry_service_pb2,
    model_serving_service_pb2,
    run_service_pb2,
    status_service_pb2,
)

__all__ = ["API_FILES", "channel_options", "is_repeatable", "service_config", "stream_options"]

API_FILES: tuple[FileDescriptor, ...] = (
    experiment_service_pb2.DESCRIPTOR,
    model_registry_service_pb2.DESCRIPTOR,
    model_serving_service_pb2.DESCRIPTOR,
    run_service_pb2.DESCRIPTOR,
    status_service_pb2.DESCRIPTOR,
)


def is_repeatable(method: MethodDescriptor) -> bool:
    """Whether calling a method twice does the same as calling it once, by its own declaration."""
    level = method.GetOptions().idempotency_level
    return level in (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


def service_config(attempts: int) -> str:
    """gRPC's service config, as JSON: retries, of the single calls that are safe to repeat.

    LogMetrics is safe because the client gives every point its timestamp, so that sending it
    again sends the same point. Streams go on after a cut by themselves; under gRPC's retries
    one that is cut at its start may hang, past its deadline too (seen with grpcio 1.85).
    """
    if attempts == 1:
        return json.dumps({})
    names = [
        {"service": service.full_name, "method": method.name}
        for file in API_FILES
        for service in file.services_by_name.values()
        for method in service.methods
        if is_repeatable(method) and not (method.client_streaming or method.server_streaming)
    ]
    policy = {
        "maxAttempts": attempts,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": policy}]})


def channel_options(config: ClientConfig) -> list[tuple[str, int | str]]:
    """The channel arguments that a configuration stands for."""
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.keepalive_time_ms", round(config.keepalive_time * 1000)),
        ("grpc.keepalive_timeout_ms", round(config.keepalive_timeout * 1000)),
        # An idle trainer must notice a dead connection before it next has something to say.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Files come in chunks of 1 MiB; a frame and a read of that size halve the work for each.
        ("grpc.http2.max_frame_size", 2**20),
        ("grpc.experimental.tcp_min_read_chunk_size", 2**18),
        ("grpc.experimental.tcp_max_read_chunk_size", 2**22),
        # So much of a stream arrives before it is read. By itself gRPC would let a stream that is
        # read slowly grow that without a bound.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 2**22),
        # By itself gRPC would leave a server alone for up to two minutes after it was away, and
        # miss one that is back for a few seconds at a time.
        ("grpc.max_reconnect_backoff_ms", 1000),
        # gRPC shares connections between channels of equal arguments: never with the channels
        # that a forked child has inherited.
        ("mlflow_grpc.process", os.getpid()),
        ("grpc.enable_retries", int(config.retry_attempts > 1)),
        ("grpc.service_config", service_config(config.retry_attempts)),
    ]


def stream_options(config: ClientConfig) -> list[tuple[str, int | str]]:
    """The channel arguments of the stream of metrics, which has a connection of its own.

    It is kept up and made anew by the client itself, which needs every message that it sends
    again unchanged; gRPC must neither repeat a call nor put off a connection.
    """
    return [
        *(
            option
            for option in channel_options(config)
            if option[0] not in ("grpc.enable_retries", "grpc.service_config")
        ),
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
