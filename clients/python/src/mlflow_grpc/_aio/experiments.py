"""Experiments."""

# Made from _sync/experiments.py by tests/unit/client/twins.py; do not edit.

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from mlflow_grpc._aio.base import AsyncCaller
from mlflow_grpc._calls import experiments as calls
from mlflow_grpc._entities import Experiment
from mlflow_grpc._enums import ViewType


class AsyncExperimentMethods(AsyncCaller):
    """The methods about experiments."""

    async def create_experiment(
        self,
        name: str,
        artifact_location: str | None = None,
        tags: Mapping[str, object] | None = None,
        description: str | None = None,
        *,
        timeout: float | None = None,
    ) -> str:
        """Creates an experiment and returns its id.

        `name` has 1 to 256 characters. Runs keep their artifacts below the URI
        `artifact_location`, by default one the server chooses. Values of tags are written as
        `str` writes them. `timeout` is in seconds.

        Raises `AlreadyExistsError` if the name is taken, also by a deleted experiment.
        """
        call = calls.create_experiment(name, artifact_location, tags, description)
        return await self._call(call, timeout)

    async def get_experiment(
        self, experiment_id: str, *, timeout: float | None = None
    ) -> Experiment:
        """Gets an experiment, deleted or not. `timeout` is in seconds.

        Raises `NotFoundError` if there is none.
        """
        return await self._call(calls.get_experiment(experiment_id), timeout)

    async def get_experiment_by_name(
        self, name: str, *, timeout: float | None = None
    ) -> Experiment | None:
        """Gets an experiment by its name, deleted or not; None if there is none.

        `timeout` is in seconds.
        """
        return await self._call_or_none(calls.get_experiment_by_name(name), timeout)

    def search_experiments(
        self,
        view_type: ViewType | str = ViewType.ACTIVE_ONLY,
        max_results: int | None = None,
        filter_string: str | None = None,
        order_by: Sequence[str] | None = None,
        *,
        page_size: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Experiment]:
        """Iterates over experiments, the most recently updated first by default.

        Pages are fetched as they are needed, each of at most `page_size` experiments (default
        100, maximum 1,000) and each within `timeout` seconds. `max_results` bounds the whole
        iteration. `filter_string` and `order_by` are in MLflow's syntax, such as
        `name LIKE 'vision/%' AND tags.team = 'a'` and `["name ASC"]`.

        Raises `InvalidArgumentError`, while iterating, for a filter or order it cannot read.
        """
        pages = calls.search_experiments(view_type, max_results, filter_string, order_by, page_size)
        return self._iterate(pages, timeout)

    async def update_experiment(
        self,
        experiment_id: str,
        name: str | None = None,
        description: str | None = None,
        *,
        timeout: float | None = None,
    ) -> Experiment:
        """Changes the name or the description of an experiment; None leaves one as it is.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such experiment,
        `FailedPreconditionError` if it is deleted, `AlreadyExistsError` if the name is taken.
        """
        return await self._call(calls.update_experiment(experiment_id, name, description), timeout)

    async def rename_experiment(
        self, experiment_id: str, new_name: str, *, timeout: float | None = None
    ) -> Experiment:
        """Renames an experiment. Raises what `update_experiment` raises.

        `timeout` is in seconds.
        """
        return await self._call(calls.update_experiment(experiment_id, new_name, None), timeout)

    async def delete_experiment(self, experiment_id: str, *, timeout: float | None = None) -> None:
        """Deletes an experiment and its runs; `restore_experiment` undoes it.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such experiment,
        `FailedPreconditionError` if it is deleted already.
        """
        await self._call(calls.delete_experiment(experiment_id), timeout)

    async def restore_experiment(
        self, experiment_id: str, *, timeout: float | None = None
    ) -> Experiment:
        """Restores a deleted experiment and its runs.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such experiment,
        `FailedPreconditionError` if it is not deleted.
        """
        return await self._call(calls.restore_experiment(experiment_id), timeout)

    async def set_experiment_tag(
        self, experiment_id: str, key: str, value: object, *, timeout: float | None = None
    ) -> None:
        """Sets a tag of an experiment, to `str(value)`: up to 20,000 characters.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such experiment,
        `FailedPreconditionError` if it is deleted.
        """
        await self._call(calls.set_experiment_tag(experiment_id, key, value), timeout)

    async def delete_experiment_tag(
        self, experiment_id: str, key: str, *, timeout: float | None = None
    ) -> None:
        """Deletes a tag of an experiment.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such experiment or tag,
        `FailedPreconditionError` if the experiment is deleted.
        """
        await self._call(calls.delete_experiment_tag(experiment_id, key), timeout)
