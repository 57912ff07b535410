"""The model registry."""

# Made from _sync/registry.py by tests/unit/client/twins.py; do not edit.

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from mlflow_grpc._aio.base import AsyncCaller
from mlflow_grpc._calls import registry as calls
from mlflow_grpc._entities import ModelVersion, RegisteredModel
from mlflow_grpc._enums import ModelVersionStage


class AsyncRegistryMethods(AsyncCaller):
    """The methods about registered models and their versions.

    All that name a registered model, version, tag or alias raise `NotFoundError` if there is
    none. `timeout` is in seconds.
    """

    async def create_registered_model(
        self,
        name: str,
        tags: Mapping[str, object] | None = None,
        description: str | None = None,
        *,
        timeout: float | None = None,
    ) -> RegisteredModel:
        """Creates a registered model without versions.

        `name` has 1 to 256 characters, no `/` and no `:`. `timeout` is in seconds.

        Raises `AlreadyExistsError` if the name is taken.
        """
        return await self._call(calls.create_registered_model(name, tags, description), timeout)

    async def get_registered_model(
        self, name: str, *, timeout: float | None = None
    ) -> RegisteredModel:
        """Gets a registered model. `timeout` is in seconds.

        Raises `NotFoundError` if there is none.
        """
        return await self._call(calls.get_registered_model(name), timeout)

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: Sequence[str] | None = None,
        *,
        page_size: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[RegisteredModel]:
        """Iterates over registered models, by name unless `order_by` says otherwise.

        Pages are fetched as they are needed, each of at most `page_size` models (default 100,
        maximum 1,000) and each within `timeout` seconds. `max_results` bounds the whole
        iteration. `filter_string` is in MLflow's syntax, such as `name LIKE 'fraud-%'`.

        Raises `InvalidArgumentError`, while iterating, for a filter or order it cannot read.
        """
        pages = calls.search_registered_models(filter_string, max_results, order_by, page_size)
        return self._iterate(pages, timeout)

    async def update_registered_model(
        self, name: str, description: str, *, timeout: float | None = None
    ) -> RegisteredModel:
        """Changes the description of a registered model; an empty one clears it.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such model.
        """
        return await self._call(calls.update_registered_model(name, description), timeout)

    async def rename_registered_model(
        self, name: str, new_name: str, *, timeout: float | None = None
    ) -> RegisteredModel:
        """Renames a registered model and with it all its versions. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such model, `AlreadyExistsError` if the new name
        is taken.
        """
        return await self._call(calls.rename_registered_model(name, new_name), timeout)

    async def delete_registered_model(self, name: str, *, timeout: float | None = None) -> None:
        """Deletes a registered model with all its versions. There is no way back.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such model.
        """
        await self._call(calls.delete_registered_model(name), timeout)

    async def set_registered_model_tag(
        self, name: str, key: str, value: object, *, timeout: float | None = None
    ) -> None:
        """Sets a tag of a registered model, to `str(value)`: up to 5,000 characters.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such model.
        """
        await self._call(calls.set_registered_model_tag(name, key, value), timeout)

    async def delete_registered_model_tag(
        self, name: str, key: str, *, timeout: float | None = None
    ) -> None:
        """Deletes a tag of a registered model. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such model or tag.
        """
        await self._call(calls.delete_registered_model_tag(name, key), timeout)

    async def set_registered_model_alias(
        self, name: str, alias: str, version: str | int, *, timeout: float | None = None
    ) -> None:
        """Points an alias at a version; it leaves the version it pointed to.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such version,
        `InvalidArgumentError` for an alias that is reserved (`latest`, `v1`).
        """
        await self._call(calls.set_registered_model_alias(name, alias, version), timeout)

    async def delete_registered_model_alias(
        self, name: str, alias: str, *, timeout: float | None = None
    ) -> None:
        """Deletes an alias. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such model or alias.
        """
        await self._call(calls.delete_registered_model_alias(name, alias), timeout)

    async def get_model_version_by_alias(
        self, name: str, alias: str, *, timeout: float | None = None
    ) -> ModelVersion:
        """Gets the version that an alias points to. `latest` always means the newest.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such model or alias.
        """
        return await self._call(calls.get_model_version_by_alias(name, alias), timeout)

    async def register_model(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Mapping[str, object] | None = None,
        run_link: str | None = None,
        description: str | None = None,
        *,
        model_id: str | None = None,
        timeout: float | None = None,
    ) -> ModelVersion:
        """Registers a version of a model, and the registered model if there is none yet.

        This is MlflowClient's `create_model_version`, with its arguments, without the need to
        create the registered model first. `source` says where the model's files are:
        `runs:/RUN_ID/PATH`, `models:/m-ID` (a logged model), `models:/NAME/VERSION`, or the URI
        of a folder. `run_id` and `model_id` are by default those that the source names. Tags
        and description are of the version. `timeout` is in seconds.

        Raises `NotFoundError` if the run or model that the source names does not exist.
        """
        call = calls.register_model(name, source, run_id, tags, run_link, description, model_id)
        return await self._call(call, timeout)

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: Sequence[str] | None = None,
        *,
        name: str | None = None,
        page_size: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[ModelVersion]:
        """Iterates over versions of one registered model, or of all without a `name`.

        The most recently updated come first by default. Pages are fetched as they are needed,
        each of at most `page_size` versions (default 100, maximum 1,000) and each within
        `timeout` seconds. `max_results` bounds the whole iteration. `filter_string` is in
        MLflow's syntax, such as `run_id = '0123'`.

        Raises, while iterating, `InvalidArgumentError` for a filter or order it cannot read,
        and `NotFoundError` if there is no model of that `name`.
        """
        pages = calls.search_model_versions(filter_string, max_results, order_by, name, page_size)
        return self._iterate(pages, timeout)

    async def get_model_version(
        self, name: str, version: str | int, *, timeout: float | None = None
    ) -> ModelVersion:
        """Gets a version. `timeout` is in seconds.

        Raises `NotFoundError` if there is none.
        """
        return await self._call(calls.get_model_version(name, version), timeout)

    async def update_model_version(
        self, name: str, version: str | int, description: str, *, timeout: float | None = None
    ) -> ModelVersion:
        """Changes the description of a version; an empty one clears it.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such version.
        """
        return await self._call(calls.update_model_version(name, version, description), timeout)

    async def delete_model_version(
        self, name: str, version: str | int, *, timeout: float | None = None
    ) -> None:
        """Deletes a version. There is no way back. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such version.
        """
        await self._call(calls.delete_model_version(name, version), timeout)

    async def transition_model_version_stage(
        self,
        name: str,
        version: str | int,
        stage: ModelVersionStage | str,
        archive_existing_versions: bool = False,
        *,
        timeout: float | None = None,
    ) -> ModelVersion:
        """Moves a version to a stage: None, Staging, Production or Archived.

        `archive_existing_versions` archives the versions that are in the stage; only for
        Staging and Production. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such version, `ValueError` if there is no such
        stage.
        """
        call = calls.transition_model_version_stage(name, version, stage, archive_existing_versions)
        return await self._call(call, timeout)

    async def set_model_version_tag(
        self,
        name: str,
        version: str | int,
        key: str,
        value: object,
        *,
        timeout: float | None = None,
    ) -> None:
        """Sets a tag of a version, to `str(value)`: up to 100,000 characters.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such version.
        """
        await self._call(calls.set_model_version_tag(name, version, key, value), timeout)

    async def delete_model_version_tag(
        self, name: str, version: str | int, key: str, *, timeout: float | None = None
    ) -> None:
        """Deletes a tag of a version. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such version or tag.
        """
        await self._call(calls.delete_model_version_tag(name, version, key), timeout)

    async def copy_model_version(
        self, name: str, version: str | int, dst_name: str, *, timeout: float | None = None
    ) -> ModelVersion:
        """Copies a version to the registered model `dst_name`, created if there is none.

        The copy keeps tags, description and run. `timeout` is in seconds. Raises
        `NotFoundError` if there is no such version.
        """
        return await self._call(calls.copy_model_version(name, version, dst_name), timeout)
