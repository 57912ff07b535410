"""Opens the engine that the settings name."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from mlflow.deployments import BaseDeploymentClient, get_deploy_client

from mlflow_grpc_server.serving.engine import Engine
from mlflow_grpc_server.serving.local import LocalEngine
from mlflow_grpc_server.serving.models import Models
from mlflow_grpc_server.serving.targets import TargetEngine
from mlflow_grpc_server.settings import Settings
from mlflow_grpc_server.tracking.uris import is_http, redact, without_secrets

__all__ = ["TargetError", "open_engine"]


class TargetError(Exception):
    """A serving target that cannot be used. The message holds no secret."""


def open_engine(settings: Settings, client: MlflowClient) -> Engine:
    """Return the engine over the registry of `client`, with nothing deployed yet.

    Raises TargetError for a serving target that cannot be used.
    """
    folder = Path(settings.serving_folder).absolute()
    # Behind an MLflow server, `mlflow-artifacts:/` is that server's to resolve.
    destination = None if is_http(settings.backend_store_uri) else settings.artifacts_destination
    models = Models(client, destination, folder / "models")
    limits = settings.serving_queue, settings.serving_poll
    if uri := settings.serving_target:
        return TargetEngine(_target(uri), uri, models, *limits)
    return LocalEngine(models, folder, *limits)


def _target(uri: str) -> BaseDeploymentClient:
    try:
        return get_deploy_client(uri)
    except Exception as error:  # A plugin raises whatever it trips over.
        raise TargetError(
            f"cannot use the serving target {redact(uri)!r}: {without_secrets(str(error), uri)}"
        ) from error
