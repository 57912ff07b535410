"""Entries written through MlflowClient, for stores that have no bulk writer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import requests
import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE, ErrorCode
from mlflow.utils import validation

from mlflow_grpc_server.exceptions import NotFoundError, RequestError, StoreUnavailableError
from mlflow_grpc_server.ingest.entries import (
    Entries,
    EntryKind,
    MetricRow,
    ModelMetric,
    Outcome,
    Rejected,
)
from mlflow_grpc_server.tracking.refusals import (
    NOT_FOUND_CODES,
    REFUSED_CODES,
    not_found,
    param_changed,
    wrong_stage,
)

__all__ = ["ClientWriter"]

_MOST_METRICS = validation.MAX_METRICS_PER_BATCH
_MOST_PARAMS_TAGS = validation.MAX_PARAMS_TAGS_PER_BATCH


class ClientWriter:
    """Writes entries with `log_batch`, packed as full as MLflow takes them."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def write(self, group: Sequence[Entries]) -> list[Outcome]:
        """Store a group, of any runs, in order for each run; return an outcome for each.

        Raises StoreUnavailableError if the store is away; a part of the group may be stored
        then, and storing it again changes nothing.
        """
        runs: dict[str, list[int]] = {}
        for place, entries in enumerate(group):
            runs.setdefault(entries.run_id, []).append(place)
        outcomes = [Outcome()] * len(group)
        for places in runs.values():
            of_run = [group[place] for place in places]
            for place, outcome in zip(places, self._write_run(of_run), strict=True):
                outcomes[place] = outcome
        return outcomes

    def _write_run(self, group: Sequence[Entries]) -> list[Outcome]:
        try:
            if len(group) == 1 or any(entries.model_metrics for entries in group):
                return [self._write_one(entries) for entries in group]
            try:
                self._log(group)
            except MlflowException as error:
                if error.error_code not in REFUSED_CODES | NOT_FOUND_CODES:
                    raise
                # One of them is at fault; which, and why, is found one by one.
                return [self._write_one(entries) for entries in group]
            return [Outcome()] * len(group)
        except MlflowException as error:
            if _is_away(error):
                raise StoreUnavailableError from error
            raise

    def _write_one(self, entries: Entries) -> Outcome:
        rejected = [
            Rejected(EntryKind.METRIC, metric.index, fault)
            for metric in entries.model_metrics
            if (fault := self._fault_of_model(metric.model_id)) is not None
        ]
        if rejected and entries.atomic:
            return Outcome(rejected=rejected)
        entries = _without(entries, rejected)
        try:
            with not_found("run", entries.run_id):
                self._log([entries])
        except NotFoundError as error:
            return Outcome(refused=error)
        except MlflowException as error:
            if error.error_code not in REFUSED_CODES:
                raise
            return self._explain(entries, rejected, error)
        return Outcome(rejected=rejected)

    def _explain(
        self, entries: Entries, rejected: list[Rejected], error: MlflowException
    ) -> Outcome:
        """Say why MLflow refused `entries`, and store those that are not at fault.

        MLflow has one code and a sentence for all of it; the run itself tells which it was.
        """
        run = self._client.get_run(entries.run_id)
        if run.info.lifecycle_stage == LifecycleStage.DELETED:
            return Outcome(refused=wrong_stage("run", entries.run_id, "DELETED"))
        known = dict(run.data.params)
        changed: list[Rejected] = []
        for index, key, value in entries.params:
            stored = known.setdefault(key, value)
            if stored != value:
                fault = param_changed(index, key, stored, value)
                changed.append(Rejected(EntryKind.PARAM, index, fault))
        if not changed:
            raise error
        if not entries.atomic:
            self._log([_without(entries, changed)])
        return Outcome(rejected=[*rejected, *changed])

    def _fault_of_model(self, model_id: str) -> RequestError | None:
        try:
            with not_found("logged model", model_id):
                self._client.get_logged_model(model_id)
        except NotFoundError as error:
            return error
        return None

    def _log(self, group: Sequence[Entries]) -> None:
        """Log entries of one run in as few calls as MLflow's limits allow, params first.

        Params are what MLflow may refuse, and a refusal must come before anything is stored.
        """
        metrics = [metric for entries in group for metric in _metrics(entries)]
        params = {(key, value): None for entries in group for _, key, value in entries.params}
        tags = [RunTag(key, value) for entries in group for _, key, value in entries.tags]
        for packed in _packs(metrics, [Param(*param) for param in params], tags):
            self._client.log_batch(group[0].run_id, *packed)


def _packs(
    metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[RunTag]
) -> Iterator[tuple[Sequence[Metric], Sequence[Param], Sequence[RunTag]]]:
    most = validation.MAX_ENTITIES_PER_BATCH
    few = max(len(params), len(tags)) <= _MOST_PARAMS_TAGS
    if few and len(metrics) + len(params) + len(tags) <= most:
        yield metrics, params, tags
        return
    for start in range(0, len(params), _MOST_PARAMS_TAGS):
        yield (), params[start : start + _MOST_PARAMS_TAGS], ()
    for start in range(0, len(metrics), _MOST_METRICS):
        yield metrics[start : start + _MOST_METRICS], (), ()
    for start in range(0, len(tags), _MOST_PARAMS_TAGS):
        yield (), (), tags[start : start + _MOST_PARAMS_TAGS]


def _metrics(entries: Entries) -> Iterator[Metric]:
    of_models = {metric.place: metric for metric in entries.model_metrics}
    for place, row in enumerate(entries.metrics):
        yield _metric(row, of_models.get(place))


def _metric(row: MetricRow, of_model: ModelMetric | None) -> Metric:
    key, value, timestamp, step, is_nan, _ = row
    return Metric(
        key,
        math.nan if is_nan else value,
        timestamp,
        step,
        model_id=of_model.model_id if of_model else None,
        dataset_name=of_model.dataset_name if of_model else None,
        dataset_digest=of_model.dataset_digest if of_model else None,
    )


def _without(entries: Entries, rejected: Sequence[Rejected]) -> Entries:
    """Return entries without those rejected."""
    bad = {(one.kind, one.index) for one in rejected}
    places = {
        metric.place for metric in entries.model_metrics if (EntryKind.METRIC, metric.index) in bad
    }
    kept = [place for place in range(len(entries.metrics)) if place not in places]
    moved = {place: number for number, place in enumerate(kept)}
    return Entries(
        entries.run_id,
        [entries.metrics[place] for place in kept],
        [param for param in entries.params if (EntryKind.PARAM, param[0]) not in bad],
        entries.tags,
        [
            replace(metric, place=moved[metric.place])
            for metric in entries.model_metrics
            if metric.place not in places
        ],
        entries.atomic,
    )


def _is_away(error: MlflowException) -> bool:
    cause = error.__cause__ or error.__context__
    return error.error_code == ErrorCode.Name(TEMPORARILY_UNAVAILABLE) or isinstance(
        cause,
        requests.RequestException
        | sqlalchemy.exc.OperationalError
        | sqlalchemy.exc.InterfaceError
        | sqlalchemy.exc.TimeoutError,
    )
