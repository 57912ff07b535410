"""The same operations through this server's stubs and through MLflow's client."""

from __future__ import annotations

import time
from typing import Protocol

import grpc

from mlflow_grpc.v1 import (
    experiment_service_pb2,
    experiment_service_pb2_grpc,
    model_registry_service_pb2,
    model_registry_service_pb2_grpc,
    resources_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
)
from tests.benchmarks.seeding import Seed

__all__ = ["PAGE", "Backend", "GrpcBackend", "MlflowBackend"]

PAGE = 100
"""How many runs or versions a search or list asks for."""


class Backend(Protocol):
    """What is measured. Searches and lists return how many entries they got."""

    def create_run(self) -> None:
        """Create a run."""

    def get_run(self) -> None:
        """Get the run of the seed."""

    def log_metric(self) -> None:
        """Log one new point of one metric to the run of the seed."""

    def search_runs(self) -> int:
        """Find a page of runs."""

    def list_versions(self) -> int:
        """List a page of versions of the model of the seed."""


class GrpcBackend:
    """This server, called through the generated stubs."""

    def __init__(self, channel: grpc.Channel, seed: Seed) -> None:
        self._experiments = experiment_service_pb2_grpc.ExperimentServiceStub(channel)
        self._runs = run_service_pb2_grpc.RunServiceStub(channel)
        self._registry = model_registry_service_pb2_grpc.ModelRegistryServiceStub(channel)
        self._seed = seed
        self._step = 0

    def create_run(self) -> None:
        """Create a run."""
        self._experiments.StartRun(
            experiment_service_pb2.StartRunRequest(experiment_id=self._seed.experiment_id)
        )

    def get_run(self) -> None:
        """Get the run of the seed."""
        self._runs.GetRun(run_service_pb2.GetRunRequest(run_id=self._seed.run_id))

    def log_metric(self) -> None:
        """Log one new point of one metric to the run of the seed."""
        self._step += 1
        point = resources_pb2.Metric(
            key="loss", value=0.5, timestamp_ms=time.time_ns() // 1_000_000, step=self._step
        )
        self._runs.LogMetrics(
            run_service_pb2.LogMetricsRequest(run_id=self._seed.run_id, metrics=[point])
        )

    def search_runs(self) -> int:
        """Find a page of runs."""
        answer = self._runs.SearchRuns(
            run_service_pb2.SearchRunsRequest(
                experiment_ids=[self._seed.experiment_id], page_size=PAGE
            )
        )
        return len(answer.runs)

    def list_versions(self) -> int:
        """List a page of versions of the model of the seed."""
        answer = self._registry.ListModelVersions(
            model_registry_service_pb2.ListModelVersionsRequest(
                name=self._seed.model, page_size=PAGE
            )
        )
        return len(answer.model_versions)


class MlflowBackend:
    """MLflow's client, over its REST server or in-process over a database."""

    def __init__(self, uri: str, seed: Seed) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._seed = seed
        self._step = 0

    def create_run(self) -> None:
        """Create a run."""
        self._client.create_run(self._seed.experiment_id)

    def get_run(self) -> None:
        """Get the run of the seed."""
        self._client.get_run(self._seed.run_id)

    def log_metric(self) -> None:
        """Log one new point of one metric to the run of the seed."""
        self._step += 1
        self._client.log_metric(self._seed.run_id, "loss", 0.5, step=self._step, synchronous=True)

    def search_runs(self) -> int:
        """Find a page of runs."""
        return len(self._client.search_runs([self._seed.experiment_id], max_results=PAGE))

    def list_versions(self) -> int:
        """List a page of versions of the model of the seed."""
        return len(
            self._client.search_model_versions(f"name = '{self._seed.model}'", max_results=PAGE)
        )
