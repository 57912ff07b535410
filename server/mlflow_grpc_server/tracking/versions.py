"""Which version a `models:/` URI means. Blocks."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.store.artifact.utils.models import _parse_model_uri, get_model_name_and_version

from mlflow_grpc_server.exceptions import NotFoundError
from mlflow_grpc_server.tracking.refusals import absent

__all__ = ["registered_version"]

# Databases have no larger ones.
_MOST_DIGITS = 9


def registered_version(client: MlflowClient, uri: str) -> ModelVersion:
    """Return the version that a URI, which parses, names by number, alias, stage or `latest`.

    Raises NotFoundError if there is none.
    """
    shown = uri.removeprefix("models:/")
    parsed = _parse_model_uri(uri)
    with absent("model version", shown):
        if parsed.version is None and parsed.alias is None:
            # MLflow's own way to the latest has no code for the case that there is none.
            stages = [parsed.stage] if parsed.stage else None
            latest = client._get_registry_client().get_latest_versions(parsed.name, stages)
            numbers = [int(found.version) for found in latest]
            if not numbers:
                raise NotFoundError("model version", shown)
            return client.get_model_version(parsed.name, str(max(numbers)))
        name, number = get_model_name_and_version(client, uri)
        if len(str(number).lstrip("0")) > _MOST_DIGITS:
            raise NotFoundError("model version", shown)
        return client.get_model_version(name, number)
