"""The model registry, over MlflowClient. Every method blocks."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode
from mlflow.store.entities import PagedList

from mlflow_grpc_server.convert.fields import blame
from mlflow_grpc_server.convert.pages import ListQuery
from mlflow_grpc_server.convert.registry import VersionToRegister
from mlflow_grpc_server.exceptions import AlreadyExistsError, NotFoundError
from mlflow_grpc_server.tracking.refusals import already_exists, not_found
from mlflow_grpc_server.tracking.sources import Sources

__all__ = ["Registry"]


class Registry:
    """What can be done to registered models and their versions.

    Raises NotFoundError and AlreadyExistsError for what the registry's state does not allow, and
    MlflowException for a store that fails.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._sources = Sources(client)

    def search_models(self, query: ListQuery) -> PagedList[RegisteredModel]:
        with blame("filter"):
            return self._client.search_registered_models(
                filter_string=query.filter,
                max_results=query.page.limit,
                order_by=query.order_by,
                page_token=query.page.store_token,
            )

    def model_names(self) -> list[str]:
        """Return the names of up to 1,000 registered models."""
        return [model.name for model in self._client.search_registered_models(max_results=1000)]

    def create_model(self, name: str, tags: dict[str, str], description: str) -> RegisteredModel:
        with already_exists("registered model", name):
            return self._client.create_registered_model(name, tags, description)

    def get_model(self, name: str) -> RegisteredModel:
        with not_found("registered model", name):
            return self._client.get_registered_model(name)

    def update_model(self, name: str, description: str) -> RegisteredModel:
        with not_found("registered model", name):
            self._client.update_registered_model(name, description)
        return self.get_model(name)

    def rename_model(self, name: str, new_name: str) -> RegisteredModel:
        if name != new_name:
            # MySQL reports a taken name of a model with versions as it does a lost connection.
            if self._stored_name(new_name) not in (None, name):
                raise AlreadyExistsError("registered model", new_name)
            with not_found("registered model", name), already_exists("registered model", new_name):
                self._client.rename_registered_model(name, new_name)
        return self.get_model(name if name == new_name else new_name)

    def _stored_name(self, name: str) -> str | None:
        """Return the name of the model that `name` is, in the letters of the store, if any."""
        try:
            return str(self.get_model(name).name)
        except NotFoundError:
            return None

    def delete_model(self, name: str) -> None:
        with not_found("registered model", name):
            self._client.delete_registered_model(name)

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        with not_found("registered model", name):
            self._client.set_registered_model_tag(name, key, value)

    def delete_model_tag(self, name: str, key: str) -> None:
        if key not in self.get_model(name).tags:
            raise NotFoundError("tag", key)
        self._client.delete_registered_model_tag(name, key)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self.get_version(name, version)
        self._client.set_registered_model_alias(name, alias, version)

    def delete_alias(self, name: str, alias: str) -> None:
        if alias not in self.get_model(name).aliases:
            raise NotFoundError("alias", alias)
        self._client.delete_registered_model_alias(name, alias)

    def get_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        self.get_model(name)
        try:
            with not_found("alias", alias):
                return self._client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            # MLflow's word for an absent alias; the alias itself was checked before.
            if error.error_code != ErrorCode.Name(INVALID_PARAMETER_VALUE):
                raise
            raise NotFoundError("alias", alias) from error

    def register(self, wanted: VersionToRegister) -> ModelVersion:
        """Create a version, and its registered model if there is none."""
        source = self._sources.resolve(wanted.source, wanted.run_id, wanted.model_id)
        self._ensure_model(wanted.name)
        return self._client.create_model_version(
            wanted.name,
            source.uri,
            run_id=source.run_id,
            tags=wanted.tags,
            run_link=wanted.run_link,
            description=wanted.description,
            await_creation_for=0,
            model_id=source.model_id,
        )

    def search_versions(self, name: str | None, query: ListQuery) -> PagedList[ModelVersion]:
        with blame("filter"):
            versions = self._client.search_model_versions(
                filter_string=_of_model(name, query.filter),
                max_results=query.page.limit,
                order_by=query.order_by,
                page_token=query.page.store_token,
            )
        if name is not None and not versions and query.page.store_token is None:
            self.get_model(name)
        return versions

    def get_version(self, name: str, version: str) -> ModelVersion:
        with not_found("model version", f"{name}/{version}"):
            return self._client.get_model_version(name, version)

    def update_version(self, name: str, version: str, description: str) -> ModelVersion:
        with not_found("model version", f"{name}/{version}"):
            self._client.update_model_version(name, version, description)
        return self.get_version(name, version)

    def delete_version(self, name: str, version: str) -> None:
        with not_found("model version", f"{name}/{version}"):
            self._client.delete_model_version(name, version)

    def transition_stage(
        self, name: str, version: str, stage: str, *, archive_existing: bool
    ) -> ModelVersion:
        # Before MLflow archives the others, which it does not undo when there is no such version.
        self.get_version(name, version)
        with not_found("model version", f"{name}/{version}"):
            return self._client.transition_model_version_stage(
                name, version, stage, archive_existing
            )

    def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        with not_found("model version", f"{name}/{version}"):
            self._client.set_model_version_tag(name, version, key, value)

    def delete_version_tag(self, name: str, version: str, key: str) -> None:
        if key not in self.get_version(name, version).tags:
            raise NotFoundError("tag", key)
        self._client.delete_model_version_tag(name, version, key)

    def copy_version(self, name: str, version: str, destination: str) -> ModelVersion:
        self.get_version(name, version)
        copy = self._client.copy_model_version(f"models:/{name}/{version}", destination)
        return self.get_version(copy.name, str(copy.version))

    def _ensure_model(self, name: str) -> None:
        try:
            self.create_model(name, {}, "")
        except AlreadyExistsError:
            return


def _of_model(name: str | None, expression: str | None) -> str | None:
    if name is None:
        return expression
    quote = '"' if "'" in name else "'"
    of_name = f"name = {quote}{name}{quote}"
    return f"{of_name} AND {expression}" if expression else of_name
