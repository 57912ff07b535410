"""Opens the engine that the settings name."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from mlflow_grpc_server.serving.engine import Engine
from mlflow_grpc_server.serving.local import LocalEngine
from mlflow_grpc_server.serving.models import Models
from mlflow_grpc_server.settings import Settings
from mlflow_grpc_server.tracking.uris import is_http

__all__ = ["open_engine"]


def open_engine(settings: Settings, client: MlflowClient) -> Engine:
    """Return the engine over the registry of `client`, with nothing deployed yet."""
    folder = Path(settings.serving_folder).absolute()
    # Behind an MLflow server, `mlflow-artifacts:/` is that server's to resolve.
    destination = None if is_http(settings.backend_store_uri) else settings.artifacts_destination
    models = Models(client, destination, folder / "models")
    return LocalEngine(models, folder, settings.serving_queue, settings.serving_poll)
