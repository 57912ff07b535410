"""The composition root: builds every part, and owns start, serve, drain and close."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

import grpc
from grpc_channelz.v1 import channelz, channelz_pb2_grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from mlflow_grpc.v1 import (
    experiment_service_pb2,
    experiment_service_pb2_grpc,
    model_registry_service_pb2,
    model_registry_service_pb2_grpc,
    model_serving_service_pb2,
    model_serving_service_pb2_grpc,
    run_service_pb2,
    run_service_pb2_grpc,
    status_service_pb2,
    status_service_pb2_grpc,
)
from mlflow_grpc_server.artifacts.store import Artifacts, Places
from mlflow_grpc_server.convert.status import MAX_REQUEST_BYTES, info_to_proto
from mlflow_grpc_server.handlers import GenericHandlers
from mlflow_grpc_server.health import Component, Monitor
from mlflow_grpc_server.inference import open_inference_pb2, open_inference_pb2_grpc
from mlflow_grpc_server.ingest.pipeline import Ingest
from mlflow_grpc_server.ingest.signals import CommitSignals
from mlflow_grpc_server.interceptors.calls import CallInterceptor
from mlflow_grpc_server.services.experiments import ExperimentServicer
from mlflow_grpc_server.services.inference import InferenceServicer
from mlflow_grpc_server.services.registry import ModelRegistryServicer
from mlflow_grpc_server.services.runs import RunServicer
from mlflow_grpc_server.services.serving import ModelServingServicer
from mlflow_grpc_server.services.status import StatusServicer
from mlflow_grpc_server.serving.open import open_engine
from mlflow_grpc_server.settings import Settings
from mlflow_grpc_server.tracking.pool import BlockingPool
from mlflow_grpc_server.tracking.registry import Registry
from mlflow_grpc_server.tracking.stores import Stores, open_stores
from mlflow_grpc_server.tracking.tracking import Tracking
from mlflow_grpc_server.tracking.uris import is_http
from mlflow_grpc_server.tracking.watch import Watcher

__all__ = ["App", "PortError"]

# What remains after the last call of the API are health watches and the like, without an end.
_CLOSING_SECONDS = 1.0

_SWEEP_SECONDS = 0.5

_logger = logging.getLogger(__name__)
# Apart from the threads of calls, so that any number of watchers cannot keep those busy.
_WATCH_THREADS = 2
_MOST_WATCHES = 10_000

_STORE_OF_SERVICE: dict[str, Component | None] = {
    "": Component.TRACKING_STORE,
    "mlflow_grpc.v1.StatusService": None,
    "mlflow_grpc.v1.ExperimentService": Component.TRACKING_STORE,
    "mlflow_grpc.v1.RunService": Component.TRACKING_STORE,
    "mlflow_grpc.v1.ModelRegistryService": Component.MODEL_REGISTRY,
    # What is deployed answers whether or not the registry does.
    "mlflow_grpc.v1.ModelServingService": None,
    "inference.GRPCInferenceService": None,
}

_CHANNEL_OPTIONS = (
    # Without it a second server on the same port would take every other connection.
    ("grpc.so_reuseport", 0),
    ("grpc.enable_channelz", 1),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    # The client pings an idle connection every 30 s; a ping every 10 s is taken.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A client that vanished without a word is noticed, and its calls cancelled.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Files come in chunks of 1 MiB; a frame and a read of that size halve the work for each.
    ("grpc.http2.max_frame_size", 2**20),
    ("grpc.experimental.tcp_min_read_chunk_size", 2**18),
    ("grpc.experimental.tcp_max_read_chunk_size", 2**22),
    # So much of a stream arrives before it is read. By itself gRPC would let a stream that is read
    # slowly grow that without a bound.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 2**22),
)

# Threads for the files of artifacts; they wait for the disk, and calls to the stores need not.
_FILE_THREADS = 16


class PortError(Exception):
    """The address that the server should listen on cannot be had."""


class App:
    """A server, from its settings to its end. Its methods run on one event loop."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self._settings = settings
        self._stores = stores
        self._start_ms = time.time_ns() // 10**6
        self._calls = CallInterceptor("/mlflow_grpc.", "/inference.")
        self._pool = BlockingPool(settings.store_threads, settings.store_queue)
        self._files = BlockingPool(_FILE_THREADS, settings.store_queue)
        self._artifacts = Artifacts(stores.client, _places(settings))
        self._engine = open_engine(settings, stores.client)
        self._watch_pool = BlockingPool(_WATCH_THREADS, _MOST_WATCHES)
        self._signals = CommitSignals()
        metrics = stores.metrics
        self._ingest = Ingest(
            metrics.writer, metrics.writers, settings.store_retry, self._signals.committed
        )
        self._stopping = asyncio.Event()
        self._health = health.aio.HealthServicer()
        self._monitor = Monitor(
            {
                Component.TRACKING_STORE: stores.probe_tracking,
                Component.MODEL_REGISTRY: stores.probe_registry,
                Component.ARTIFACT_STORE: stores.probe_artifacts,
            },
            self._health,
            _STORE_OF_SERVICE,
            settings.health_interval,
        )
        self._watch: asyncio.Task[None] | None = None
        self._sweep: asyncio.Task[None] | None = None
        # Outermost first; authentication and metrics go behind the first one.
        self._server = grpc.aio.server(interceptors=[self._calls], options=_CHANNEL_OPTIONS)
        self._service_names = self._add_services()
        self.port = 0

    @classmethod
    def open(cls, settings: Settings) -> App:
        """Build a server over the stores of `settings`; blocks. Raises StoreUriError."""
        stores = open_stores(
            settings.backend_store_uri,
            settings.registry_uri,
            settings.artifact_root,
            settings.artifacts_destination,
        )
        return cls(settings, stores)

    async def start(self) -> None:
        """Listen, with the health service in agreement with the stores. Raises PortError."""
        address = f"{self._settings.host}:{self._settings.port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise PortError(f"cannot listen on {address}: is the port in use?") from error
        await self._monitor.check_all()
        await self._engine.start()
        await self._server.start()
        self._watch = asyncio.create_task(self._monitor.watch())
        self._sweep = asyncio.create_task(self._sweep_uploads())

    async def drain(self) -> None:
        """Report NOT_SERVING, take no more calls, and let those in flight end in time."""
        await self._monitor.drain()
        self._engine.end_watches()
        self._stopping.set()
        self._runs.stop_streams()
        stopping = asyncio.create_task(self._server.stop(self._settings.grace_period))
        idle = asyncio.create_task(self._calls.idle.wait())
        await asyncio.wait({stopping, idle}, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        await self._server.stop(_CLOSING_SECONDS)
        await stopping

    async def close(self) -> None:
        """Let go of everything, after the last thread has left the stores."""
        for task in (self._watch, self._sweep):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await self._files.close()
        await self._engine.close()
        await self._ingest.close()
        await self._pool.close()
        await self._watch_pool.close()
        self._monitor.close()
        await asyncio.to_thread(self._stores.close)

    def _add_services(self) -> list[str]:
        server: Any = GenericHandlers(self._server)
        tracking = Tracking(self._stores.client)
        metrics = self._stores.metrics
        watcher = Watcher(
            tracking, metrics.commits, self._watch_pool, self._signals, self._stopping
        )
        self._runs = RunServicer(
            tracking,
            metrics.history,
            self._pool,
            self._ingest,
            watcher,
            self._artifacts,
            self._files,
        )
        registry = Registry(self._stores.client)
        experiment_service_pb2_grpc.add_ExperimentServiceServicer_to_server(
            ExperimentServicer(tracking, self._pool), server
        )
        run_service_pb2_grpc.add_RunServiceServicer_to_server(self._runs, server)
        model_registry_service_pb2_grpc.add_ModelRegistryServiceServicer_to_server(
            ModelRegistryServicer(registry, self._pool), server
        )
        model_serving_service_pb2_grpc.add_ModelServingServiceServicer_to_server(
            ModelServingServicer(self._engine), server
        )
        open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
            InferenceServicer(
                self._engine, self._monitor, lambda: self._pool.run(registry.model_names)
            ),
            server,
        )
        status_service_pb2_grpc.add_StatusServiceServicer_to_server(
            StatusServicer(self._monitor, self._info), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        channelz_pb2_grpc.add_ChannelzServicer_to_server(channelz.aio.ChannelzServicer(), server)
        names = [
            *(
                service.full_name
                for file in (
                    experiment_service_pb2,
                    run_service_pb2,
                    model_registry_service_pb2,
                    model_serving_service_pb2,
                    status_service_pb2,
                    open_inference_pb2,
                )
                for service in file.DESCRIPTOR.services_by_name.values()
            ),
            health.SERVICE_NAME,
            "grpc.channelz.v1.Channelz",
            reflection.SERVICE_NAME,
        ]
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection.aio.ReflectionServicer(names), server
        )
        return names

    async def _sweep_uploads(self) -> None:
        """Delete uploads that nobody came back for."""
        seconds = self._settings.upload_retention
        while True:
            try:
                await asyncio.to_thread(self._artifacts.sweep, seconds)
            except OSError:
                _logger.exception("could not delete unfinished uploads")
            await asyncio.sleep(max(_SWEEP_SECONDS, seconds / 4))

    def _info(self) -> status_service_pb2.GetServerInfoResponse:
        return info_to_proto(self._settings, self.port, self._start_ms, self._service_names)


def _places(settings: Settings) -> Places:
    behind = is_http(settings.backend_store_uri)
    return Places(
        tracking_uri=settings.backend_store_uri,
        destination=None if behind else settings.artifacts_destination,
        default_root=settings.artifact_root,
        staging=settings.artifacts_staging,
        staging_bytes=settings.artifacts_staging_bytes,
    )
