"""Runs."""

# Made from _sync/runs.py by tests/unit/client/twins.py; do not edit.

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import SupportsFloat

from mlflow_grpc._aio.base import AsyncCaller
from mlflow_grpc._calls import experiments, watch
from mlflow_grpc._calls import runs as calls
from mlflow_grpc._calls.watch import RunEvent
from mlflow_grpc._entities import DatasetInput, LoggedModelInput, Metric, Run
from mlflow_grpc._enums import RunStatus, ViewType


class AsyncRunMethods(AsyncCaller):
    """The methods about runs."""

    async def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, object] | None = None,
        run_name: str | None = None,
        description: str | None = None,
        *,
        timeout: float | None = None,
    ) -> Run:
        """Starts a run that stays RUNNING until it is ended; `start_run` ends it by itself.

        `start_time` is in milliseconds since the epoch, by default now. The tag
        `mlflow.parentRunId` nests the run in another. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such experiment, `FailedPreconditionError` if it
        is deleted.
        """
        call = experiments.start_run(experiment_id, start_time, tags, run_name, description)
        return await self._call(call, timeout)

    async def end_run(
        self,
        run_id: str,
        status: RunStatus | str | None = None,
        end_time: int | None = None,
        *,
        timeout: float | None = None,
    ) -> Run:
        """Ends a run: FINISHED (the default), FAILED or KILLED. Ending it again is allowed.

        `end_time` is in milliseconds since the epoch, by default now. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such run, `FailedPreconditionError` if it is
        deleted, `ValueError` for a status that does not exist.
        """
        return await self._call(experiments.end_run(run_id, status, end_time), timeout)

    async def set_terminated(
        self,
        run_id: str,
        status: RunStatus | str | None = None,
        end_time: int | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        """The name that MlflowClient has for `end_run`."""
        await self._call(experiments.end_run(run_id, status, end_time), timeout)

    async def get_run(self, run_id: str, *, timeout: float | None = None) -> Run:
        """Gets a run, deleted or not. `timeout` is in seconds.

        Raises `NotFoundError` if there is none.
        """
        return await self._call(calls.get_run(run_id), timeout)

    def search_runs(
        self,
        experiment_ids: str | Sequence[str],
        filter_string: str | None = None,
        run_view_type: ViewType | str = ViewType.ACTIVE_ONLY,
        max_results: int | None = None,
        order_by: Sequence[str] | None = None,
        *,
        page_size: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Run]:
        """Iterates over the runs of experiments, the most recently started first by default.

        Pages are fetched as they are needed, each of at most `page_size` runs (default 100,
        maximum 1,000) and each within `timeout` seconds. `max_results` bounds the whole
        iteration. `filter_string` and `order_by` are in MLflow's syntax, such as
        `metrics.loss < 0.1 AND params.lr = '0.01'` and `["metrics.loss ASC"]`.

        Raises, while iterating, `InvalidArgumentError` for a filter or order it cannot read,
        and `NotFoundError` if nothing is found and one of the experiments does not exist.
        """
        pages = calls.search_runs(
            experiment_ids, filter_string, run_view_type, max_results, order_by, page_size
        )
        return self._iterate(pages, timeout)

    async def log_metric(
        self,
        run_id: str,
        key: str,
        value: SupportsFloat,
        timestamp: int | None = None,
        step: int | None = None,
        *,
        dataset_name: str | None = None,
        dataset_digest: str | None = None,
        model_id: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Logs one point of a metric.

        `timestamp` is in milliseconds since the epoch, by default now, `step` by default 0,
        and `timeout` in seconds. `dataset_name` and `dataset_digest` name the dataset it was
        measured on; `model_id` is a logged model the value belongs to as well.

        Raises `NotFoundError` if there is no such run, `FailedPreconditionError` if it is
        deleted, `InvalidArgumentError` for a bad key.
        """
        call = calls.log_metric(
            run_id, key, value, timestamp, step, dataset_name, dataset_digest, model_id
        )
        await self._call(call, timeout)

    async def log_metrics(
        self,
        run_id: str,
        metrics: Mapping[str, SupportsFloat] | Iterable[Metric],
        step: int | None = None,
        timestamp: int | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        """Logs points of metrics: a value for each key, or any number of `Metric`.

        Values by key all get `timestamp` (milliseconds since the epoch, by default now) and
        `step` (by default 0); a `Metric` has its own, and without a timestamp gets now. Every
        1,000 points are a call of their own, with its own `timeout` in seconds: when one fails,
        the ones before it are stored.

        Raises what `log_metric` raises, and `ValueError` for `step` or `timestamp` beside
        `Metric`.
        """
        await self._call_all(calls.log_metrics(run_id, metrics, step, timestamp), timeout)

    async def log_param(
        self, run_id: str, key: str, value: object, *, timeout: float | None = None
    ) -> None:
        """Logs a param, as `str(value)`: up to 6,000 characters. `timeout` is in seconds.

        Raises `FailedPreconditionError` if it is there with another value or the run is
        deleted, `NotFoundError` if there is no such run.
        """
        await self._call(calls.log_param(run_id, key, value), timeout)

    async def log_params(
        self, run_id: str, params: Mapping[str, object], *, timeout: float | None = None
    ) -> None:
        """Logs params. Raises what `log_param` raises.

        Every 100 params are a call of their own, with its own `timeout` in seconds: when one
        fails, the ones before it are stored.
        """
        await self._call_all(calls.log_params(run_id, params), timeout)

    async def set_tag(
        self, run_id: str, key: str, value: object, *, timeout: float | None = None
    ) -> None:
        """Sets a tag of a run, to `str(value)`: up to 8,000 characters. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such run, `FailedPreconditionError` if it is
        deleted.
        """
        await self._call(calls.set_tag(run_id, key, value), timeout)

    async def set_tags(
        self, run_id: str, tags: Mapping[str, object], *, timeout: float | None = None
    ) -> None:
        """Sets tags of a run. Raises what `set_tag` raises.

        Every 100 tags are a call of their own, with its own `timeout` in seconds: when one
        fails, the ones before it are set.
        """
        await self._call_all(calls.set_tags(run_id, tags), timeout)

    async def delete_tag(self, run_id: str, key: str, *, timeout: float | None = None) -> None:
        """Deletes a tag of a run. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such run or tag, `FailedPreconditionError` if the
        run is deleted.
        """
        await self._call(calls.delete_tag(run_id, key), timeout)

    async def log_batch(
        self,
        run_id: str,
        metrics: Iterable[Metric] = (),
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        """Logs metrics, params and tags in one call: all of it is stored, or nothing.

        At most 1,000 metrics, 100 params and 100 tags, and 1,000 in all. A `Metric` without a
        timestamp gets now. `timeout` is in seconds.

        Raises what `log_metric`, `log_param` and `set_tag` raise, and `InvalidArgumentError`
        for too many or none.
        """
        await self._call(calls.log_batch(run_id, metrics, params, tags), timeout)

    async def log_inputs(
        self,
        run_id: str,
        datasets: Iterable[DatasetInput] = (),
        models: Iterable[LoggedModelInput] = (),
        *,
        timeout: float | None = None,
    ) -> None:
        """Logs the datasets and models that a run used: at least one, up to 1,000 of each.

        `timeout` is in seconds. Raises `NotFoundError` if there is no such run or model,
        `FailedPreconditionError` if the run is deleted.
        """
        await self._call(calls.log_inputs(run_id, datasets, models), timeout)

    def get_metric_history(
        self,
        run_id: str,
        key: str,
        *,
        max_results: int | None = None,
        page_size: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Metric]:
        """Iterates over all points of one metric, by step, timestamp and value.

        Pages are fetched as they are needed, each of at most `page_size` points (default 1,000,
        maximum 25,000) and each within `timeout` seconds. `max_results` bounds the whole
        iteration. A metric that was never logged has no points.

        Raises `NotFoundError`, while iterating, if there is no such run.
        """
        return self._iterate(calls.get_metric_history(run_id, key, max_results, page_size), timeout)

    def watch_run(
        self,
        run_id: str,
        metric_keys: Sequence[str] | None = None,
        include_history: bool = False,
        cursor: str | None = None,
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[RunEvent]:
        """Watches a run until it ends: a `RunSnapshot`, then `MetricPoints` as points are
        committed, whoever writes them, and at last a `RunEnd`.

        Points are those of `metric_keys` (at most 100), or all; with `include_history` those
        that are there already come first. When the connection is cut, the watch goes on by
        itself where it was, without a gap or a repeat. `cursor`, that of the last event seen,
        goes on from there likewise, in another process perhaps; `metric_keys` must be the same.
        `timeout` is how many seconds the server may be away at a stretch, by default
        `ClientConfig.timeout`.

        Raises, while iterating, `NotFoundError` if there is no such run, `UnimplementedError` if
        the server's store cannot be watched, `InvalidArgumentError` for a cursor of another run,
        and what the last attempt raised once the server has been away for too long; `ValueError`,
        at once, for a cursor with `include_history`.
        """
        return self._watch(watch.watch_run(run_id, metric_keys, include_history, cursor), timeout)

    async def update_run(
        self,
        run_id: str,
        status: RunStatus | str | None = None,
        name: str | None = None,
        description: str | None = None,
        *,
        timeout: float | None = None,
    ) -> Run:
        """Changes a run's status, name or description; None leaves one as it is.

        `end_run` also sets the end time. `timeout` is in seconds. Raises `NotFoundError` if
        there is no such run, `FailedPreconditionError` if it is deleted, `ValueError` for a
        status that does not exist.
        """
        return await self._call(calls.update_run(run_id, status, name, description), timeout)

    async def delete_run(self, run_id: str, *, timeout: float | None = None) -> None:
        """Deletes a run; `restore_run` undoes it. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such run, `FailedPreconditionError` if it is
        deleted already.
        """
        await self._call(calls.delete_run(run_id), timeout)

    async def restore_run(self, run_id: str, *, timeout: float | None = None) -> Run:
        """Restores a deleted run. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such run, `FailedPreconditionError` if it is not
        deleted.
        """
        return await self._call(calls.restore_run(run_id), timeout)
