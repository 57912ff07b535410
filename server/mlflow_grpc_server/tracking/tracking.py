"""Experiments and runs, over MlflowClient. Every method blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Experiment, LoggedModelInput, Run
from mlflow.entities.lifecycle_stage import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList

from mlflow_grpc_server.convert.experiments import ExperimentToCreate
from mlflow_grpc_server.convert.fields import DESCRIPTION_TAG, blame
from mlflow_grpc_server.convert.pages import ListQuery
from mlflow_grpc_server.convert.runs import RunChange, RunToStart
from mlflow_grpc_server.exceptions import AlreadyExistsError, NotFoundError
from mlflow_grpc_server.tracking.refusals import (
    REFUSED_CODES,
    already_exists,
    not_found,
    wrong_stage,
)

__all__ = ["Tracking"]


class Tracking:
    """What can be done to experiments and runs.

    Raises NotFoundError, AlreadyExistsError and FailedPreconditionError for what the store's
    state does not allow, and MlflowException for a store that fails.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def search_experiments(self, query: ListQuery, view_type: int) -> PagedList[Experiment]:
        with blame("filter"):
            return self._client.search_experiments(
                view_type=view_type,
                max_results=query.page.limit,
                filter_string=query.filter,
                order_by=query.order_by,
                page_token=query.page.store_token,
            )

    def create_experiment(self, wanted: ExperimentToCreate) -> Experiment:
        with already_exists("experiment", wanted.name):
            experiment_id = self._client.create_experiment(
                wanted.name, wanted.artifact_location, wanted.tags
            )
        return self.get_experiment(experiment_id)

    def get_experiment(self, experiment_id: str) -> Experiment:
        with not_found("experiment", experiment_id):
            return self._client.get_experiment(experiment_id)

    def get_experiment_by_name(self, name: str) -> Experiment:
        with not_found("experiment", name):
            experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            raise NotFoundError("experiment", name)
        return experiment

    def update_experiment(
        self, experiment_id: str, name: str | None, description: str | None
    ) -> Experiment:
        experiment = self._active_experiment(experiment_id)
        if name is not None and name != experiment.name:
            # MLflow reports a taken name as it does any other violated constraint.
            if self._client.get_experiment_by_name(name) is not None:
                raise AlreadyExistsError("experiment", name)
            self._client.rename_experiment(experiment_id, name)
        if description is not None:
            self._client.set_experiment_tag(experiment_id, DESCRIPTION_TAG, description)
        return self.get_experiment(experiment_id)

    def delete_experiment(self, experiment_id: str) -> None:
        self._active_experiment(experiment_id)
        with not_found("experiment", experiment_id):
            self._client.delete_experiment(experiment_id)

    def restore_experiment(self, experiment_id: str) -> Experiment:
        if self.get_experiment(experiment_id).lifecycle_stage == LifecycleStage.ACTIVE:
            raise wrong_stage("experiment", experiment_id, "NOT_DELETED")
        with not_found("experiment", experiment_id):
            self._client.restore_experiment(experiment_id)
        return self.get_experiment(experiment_id)

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        self._active_experiment(experiment_id)
        self._client.set_experiment_tag(experiment_id, key, value)

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        self._active_experiment(experiment_id)
        with not_found("tag", key):
            self._client.delete_experiment_tag(experiment_id, key)

    def start_run(self, wanted: RunToStart) -> Run:
        try:
            with not_found("experiment", wanted.experiment_id):
                return self._client.create_run(
                    wanted.experiment_id, wanted.start_time, wanted.tags, wanted.run_name
                )
        except MlflowException as error:
            if error.error_code in REFUSED_CODES:
                self._active_experiment(wanted.experiment_id)
            raise

    def end_run(
        self, run_id: str, experiment_id: str | None, status: str, end_time: int | None
    ) -> Run:
        if experiment_id and self.get_run(run_id).info.experiment_id != experiment_id:
            raise NotFoundError("run", f"{experiment_id}/{run_id}")
        with self._writing(run_id):
            self._client.set_terminated(run_id, status, end_time)
        return self.get_run(run_id)

    def get_run(self, run_id: str) -> Run:
        with not_found("run", run_id):
            return self._client.get_run(run_id)

    def search_runs(
        self, experiment_ids: Sequence[str], query: ListQuery, view_type: int
    ) -> PagedList[Run]:
        with blame("filter"):
            runs = self._client.search_runs(
                experiment_ids=list(experiment_ids),
                filter_string=query.filter or "",
                run_view_type=view_type,
                max_results=query.page.limit,
                order_by=query.order_by,
                page_token=query.page.store_token,
            )
        if not runs and query.page.store_token is None:
            for experiment_id in experiment_ids:
                self.get_experiment(experiment_id)
        return runs

    def log_inputs(
        self, run_id: str, datasets: list[DatasetInput], models: list[LoggedModelInput]
    ) -> None:
        self._check_models([model.model_id for model in models])
        with self._writing(run_id):
            self._client.log_inputs(run_id, datasets, models)

    def delete_tag(self, run_id: str, key: str) -> None:
        if key not in self.get_run(run_id).data.tags:
            raise NotFoundError("tag", key)
        with self._writing(run_id), not_found("tag", key):
            self._client.delete_tag(run_id, key)

    def update_run(self, run_id: str, change: RunChange) -> Run:
        with self._writing(run_id):
            if change.run_name is not None or change.status is not None:
                self._client.update_run(run_id, change.status, change.run_name)
            if change.description is not None:
                self._client.set_tag(run_id, DESCRIPTION_TAG, change.description)
        return self.get_run(run_id)

    def delete_run(self, run_id: str) -> None:
        if self.get_run(run_id).info.lifecycle_stage == LifecycleStage.DELETED:
            raise wrong_stage("run", run_id, "DELETED")
        self._client.delete_run(run_id)

    def restore_run(self, run_id: str) -> Run:
        if self.get_run(run_id).info.lifecycle_stage == LifecycleStage.ACTIVE:
            raise wrong_stage("run", run_id, "NOT_DELETED")
        self._client.restore_run(run_id)
        return self.get_run(run_id)

    def _active_experiment(self, experiment_id: str) -> Experiment:
        experiment = self.get_experiment(experiment_id)
        if experiment.lifecycle_stage == LifecycleStage.DELETED:
            raise wrong_stage("experiment", experiment_id, "DELETED")
        return experiment

    def _check_models(self, model_ids: Sequence[str]) -> None:
        for model_id in dict.fromkeys(model_ids):
            with not_found("logged model", model_id):
                self._client.get_logged_model(model_id)

    @contextmanager
    def _writing(self, run_id: str) -> Iterator[None]:
        """Name what is in the way when MLflow refuses a write of checked values to a run.

        MLflow has one code and a sentence for all of it; the run itself tells which it was.
        """
        try:
            with not_found("run", run_id):
                yield
        except MlflowException as error:
            if error.error_code not in REFUSED_CODES:
                raise
            run = self.get_run(run_id)
            if run.info.lifecycle_stage == LifecycleStage.DELETED:
                raise wrong_stage("run", run_id, "DELETED") from error
            raise
