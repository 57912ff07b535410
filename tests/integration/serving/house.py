"""A server, its registry, and what the tests ask of both."""

from __future__ import annotations

import logging
import os
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from mlflow_grpc.v1.model_serving_service_pb2_grpc import ModelServingServiceStub
from tests.integration.serving.models import Log
from tests.rpc import Rpcs

__all__ = ["House", "order", "predictions"]


def order(name: str, text: str) -> pb.PredictRequest:
    """Return a request that tells the misbehaving model what to do."""
    request = pb.PredictRequest(name=name)
    request.json.update({"dataframe_records": [{"order": text}]})
    return request


def predictions(response: pb.PredictResponse) -> list[Any]:
    """Return what a model predicted, as JSON."""
    return list(response.json["predictions"])


class House:
    """A running server with a registry that models can be logged to."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        self.channel = grpc.insecure_channel(address)
        self.stub = ModelServingServiceStub(self.channel)
        self.rpcs = Rpcs(self.channel)
        self._log: Log | None = None
        self._registered: dict[str, str] = {}

    @property
    def log(self) -> Log:
        """The way to log models, made once."""
        if self._log is None:
            os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
            logging.getLogger("mlflow").setLevel(logging.ERROR)
            self._log = Log(f"sqlite:///{self.folder}/mlflow.db", self.folder / "mlartifacts")
        return self._log

    def model(self, kind: str, name: str = "") -> str:
        """Return the URI of version 1 of a model of that kind, registered at the first call."""
        name = name or kind
        if name not in self._registered:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                getattr(self.log, kind)(name)
            self._registered[name] = f"models:/{name}/1"
        return self._registered[name]

    def deploy(self, uri: str, name: str = "", **options: Any) -> str:
        """Deploy a model and wait until it is ready; returns its name."""
        name = name or f"m-{uuid.uuid4().hex[:12]}"
        self.rpcs("DeployModel", name=name, modelUri=uri, waitUntilReady=True, **options)
        return name

    def undeploy(self, name: str) -> None:
        """Undeploy a model."""
        self.rpcs("UndeployModel", name=name)

    def get(self, name: str) -> pb.ServedModel:
        """Return a served model as it is."""
        served: pb.ServedModel = self.rpcs("GetServedModel", name=name).served_model
        return served

    def wait(self, name: str, wanted: Callable[[pb.ServedModel], object]) -> pb.ServedModel:
        """Return the served model once it is as wanted, by its own stream."""
        request = pb.WatchServedModelRequest(name=name)
        watch = self.stub.WatchServedModel(request, timeout=60)
        last = None
        try:
            for response in watch:
                last = response.served_model
                if wanted(last):
                    return last
        except grpc.RpcError as error:
            raise AssertionError(f"{error.code()}, and at last it was {last}") from error
        finally:
            watch.cancel()
        raise AssertionError(f"the watch ended, and at last it was {last}")

    def pids(self, name: str) -> list[int]:
        """Return the process ids of the replicas of a served model."""
        return [replica.pid for v in self.get(name).versions for replica in v.replicas]

    def __enter__(self) -> House:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.channel.close()
