"""Runs, and what they log."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    Metric,
    Run,
)
from mlflow.store.tracking.dbmodels.models import SqlDataset, SqlRun
from mlflow.utils import validation
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from mlflow.utils.search_utils import SearchUtils

from mlflow_grpc.v1 import experiment_service_pb2, resources_pb2
from mlflow_grpc.v1 import run_service_pb2 as pb
from mlflow_grpc.v1.resources_pb2 import RunStatus
from mlflow_grpc_server.convert import fields, pages
from mlflow_grpc_server.convert.common import lifecycle_stage, tags_to_proto
from mlflow_grpc_server.exceptions import InvalidFieldError
from mlflow_grpc_server.ingest.entries import Entries, MetricRow, ModelMetric

__all__ = [
    "MetricRows",
    "RunChange",
    "RunToStart",
    "batch",
    "end_of_run",
    "experiment_of",
    "inputs",
    "metric_to_proto",
    "param",
    "row_to_proto",
    "run_change",
    "run_tag",
    "run_to_proto",
    "run_to_start",
    "search_query",
]

_MOST_NAME: int = SqlRun.__table__.c.name.type.length
_MOST_SOURCE_TYPE: int = SqlDataset.__table__.c.dataset_source_type.type.length
_STATUSES: dict[int, str] = {
    value: name.removeprefix("RUN_STATUS_") for name, value in RunStatus.items() if value
}
_END_STATUSES: dict[int, str] = {
    RunStatus.RUN_STATUS_UNSPECIFIED: "FINISHED",
    RunStatus.RUN_STATUS_FINISHED: "FINISHED",
    RunStatus.RUN_STATUS_FAILED: "FAILED",
    RunStatus.RUN_STATUS_KILLED: "KILLED",
}


@dataclass(frozen=True)
class RunToStart:
    """A checked StartRunRequest. `start_time` is in milliseconds since the epoch."""

    experiment_id: str
    run_name: str | None
    start_time: int | None
    tags: dict[str, str]


@dataclass(frozen=True)
class RunChange:
    """A checked UpdateRunRequest; None is what stays."""

    run_name: str | None
    status: str | None
    description: str | None


def run_to_start(request: experiment_service_pb2.StartRunRequest) -> RunToStart:
    """Check a StartRunRequest."""
    tags = fields.tags_with_description(
        request.tags, request.description, validation.MAX_TAG_VAL_LENGTH
    )
    name = fields.text("run_name", request.run_name, _MOST_NAME)
    named = tags.get(MLFLOW_RUN_NAME)
    if named is not None:
        fields.text(f"tags[{list(tags).index(MLFLOW_RUN_NAME)}].value", named, _MOST_NAME)
        if name and named and name != named:
            raise InvalidFieldError("run_name", f"differs from the tag {MLFLOW_RUN_NAME!r}")
    return RunToStart(
        experiment_id=fields.experiment_id(request.experiment_id),
        run_name=name or None,
        start_time=fields.time_ms(request, "start_time"),
        tags=tags,
    )


def experiment_of(request: experiment_service_pb2.EndRunRequest) -> str | None:
    """Return the experiment that the run must be in, None for any."""
    return fields.experiment_id(request.experiment_id) if request.experiment_id else None


def end_of_run(request: experiment_service_pb2.EndRunRequest) -> tuple[str, int | None]:
    """Return the final status and the end time in milliseconds, None for now."""
    status = fields.one_of("status", request.status, _END_STATUSES)
    return status, fields.time_ms(request, "end_time")


def run_change(request: pb.UpdateRunRequest) -> RunChange:
    """Check an UpdateRunRequest."""
    name = status = description = None
    if request.HasField("run_name"):
        name = fields.text("run_name", request.run_name, _MOST_NAME, required=True)
    if request.HasField("status"):
        status = fields.one_of("status", request.status, _STATUSES)
    if request.HasField("description"):
        most = validation.MAX_TAG_VAL_LENGTH
        description = fields.text("description", request.description, most)
    if name is None and status is None and description is None:
        raise InvalidFieldError("run_name", "or status or description must be given")
    return RunChange(name, status, description)


class MetricRows:
    """Turns points of one request into rows of the store, which it adds to `entries`.

    A point without a timestamp gets `now_ms`.
    """

    def __init__(self, entries: Entries, now_ms: int) -> None:
        self._entries = entries
        self._now_ms = now_ms
        self._good_keys: set[str] = set()

    def add(self, index: int, item: resources_pb2.Metric) -> None:
        """Add the point at `index` of the request; InvalidFieldError if it is none."""
        key = item.key
        if key not in self._good_keys:
            fields.key(f"metrics[{index}].key", key)
            self._good_keys.add(key)
        value = item.value
        if not value and not item.HasField("value"):
            raise InvalidFieldError(f"metrics[{index}].value", "is required")
        timestamp = item.timestamp_ms
        if timestamp < 0:
            raise InvalidFieldError(
                f"metrics[{index}].timestamp_ms", f"is {timestamp}; it may not be negative"
            )
        if not timestamp and not item.HasField("timestamp_ms"):
            timestamp = self._now_ms
        is_nan = False
        if value - value != 0:
            is_nan, value = _storable(value)
        row = (key, value, timestamp, item.step, is_nan, self._entries.run_id)
        if item.model_id or item.dataset_name or item.dataset_digest:
            self._add_model(index, item)
        self._entries.metrics.append(row)

    def _add_model(self, index: int, item: resources_pb2.Metric) -> None:
        path = f"metrics[{index}]"
        if item.model_id:
            fields.model_id(item.model_id, f"{path}.model_id")
        if bool(item.dataset_name) != bool(item.dataset_digest):
            raise InvalidFieldError(f"{path}.dataset_name", "and dataset_digest go together")
        most_digest = validation.MAX_DATASET_DIGEST_SIZE
        fields.text(f"{path}.dataset_name", item.dataset_name, validation.MAX_DATASET_NAME_SIZE)
        fields.text(f"{path}.dataset_digest", item.dataset_digest, most_digest)
        if item.model_id:
            place = len(self._entries.metrics)
            dataset = (item.dataset_name or None, item.dataset_digest or None)
            metric = ModelMetric(index, place, item.model_id, *dataset)
            self._entries.model_metrics.append(metric)


def _storable(value: float) -> tuple[bool, float]:
    """Return is_nan and the finite number that MLflow stores for NaN or an infinity."""
    if math.isnan(value):
        return True, 0.0
    return False, math.copysign(sys.float_info.max, value)


def param(index: int, item: resources_pb2.Param) -> tuple[str, str]:
    """Return key and value of the param at `index` of the request."""
    key = fields.key(f"params[{index}].key", item.key)
    return key, fields.text(f"params[{index}].value", item.value, validation.MAX_PARAM_VAL_LENGTH)


def run_tag(index: int, item: resources_pb2.Tag) -> tuple[str, str]:
    """Return key and value of the tag at `index` of the request."""
    key = fields.key(f"tags[{index}].key", item.key)
    is_name = key == MLFLOW_RUN_NAME
    most = _MOST_NAME if is_name else validation.MAX_TAG_VAL_LENGTH
    return key, fields.text(f"tags[{index}].value", item.value, most, required=is_name)


def batch(
    run_id: str,
    metrics: Sequence[resources_pb2.Metric] = (),
    params: Sequence[resources_pb2.Param] = (),
    tags: Sequence[resources_pb2.Tag] = (),
    *,
    required: str = "metrics",
) -> Entries:
    """Return what a call logs; at least one entry, else `required` is named as missing."""
    checked = Entries(fields.run_id(run_id), atomic=True)
    fields.at_most("metrics", metrics, validation.MAX_METRICS_PER_BATCH)
    rows = MetricRows(checked, time.time_ns() // 10**6)
    for index, item in enumerate(metrics):
        rows.add(index, item)
    fields.at_most("params", params, validation.MAX_PARAMS_TAGS_PER_BATCH)
    checked.params = [(index, *param(index, item)) for index, item in enumerate(params)]
    _refuse_twice("params", [item.key for item in params])
    fields.at_most("tags", tags, validation.MAX_PARAMS_TAGS_PER_BATCH)
    checked.tags = [(index, *run_tag(index, item)) for index, item in enumerate(tags)]
    _refuse_twice("tags", [item.key for item in tags])
    if not checked.size:
        raise InvalidFieldError(required, "is required")
    if checked.size > validation.MAX_ENTITIES_PER_BATCH:
        most = validation.MAX_ENTITIES_PER_BATCH
        raise InvalidFieldError("metrics", f"and params and tags have over {most:,} entries")
    return checked


def _refuse_twice(field: str, keys: Sequence[str]) -> None:
    if len(set(keys)) == len(keys):
        return
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise InvalidFieldError(f"{field}[{index}].key", f"{key!r} is given twice")


def inputs(request: pb.LogInputsRequest) -> tuple[list[DatasetInput], list[LoggedModelInput]]:
    """Return the datasets and the logged models to log; at least one."""
    if not request.datasets and not request.models:
        raise InvalidFieldError("datasets", "or models must be given")
    return _dataset_inputs(request.datasets), _model_inputs(request.models)


def _dataset_inputs(items: Sequence[resources_pb2.DatasetInput]) -> list[DatasetInput]:
    """Return datasets to log."""
    fields.at_most("datasets", items, validation.MAX_DATASETS_PER_BATCH)
    return [_dataset_input(f"datasets[{index}]", item) for index, item in enumerate(items)]


def _dataset_input(path: str, item: resources_pb2.DatasetInput) -> DatasetInput:
    tags: dict[str, str] = {}
    for index, tag in enumerate(item.tags):
        at = f"{path}.tags[{index}]"
        key = fields.text(f"{at}.key", tag.key, validation.MAX_INPUT_TAG_KEY_SIZE, required=True)
        if key in tags:
            raise InvalidFieldError(f"{at}.key", f"{key!r} is given twice")
        tags[key] = fields.text(f"{at}.value", tag.value, validation.MAX_INPUT_TAG_VALUE_SIZE)
    if not item.HasField("dataset"):
        raise InvalidFieldError(f"{path}.dataset", "is required")
    given = item.dataset

    def part(name: str, most: int, *, required: bool = False) -> str:
        return fields.text(f"{path}.dataset.{name}", getattr(given, name), most, required=required)

    dataset = Dataset(
        name=part("name", validation.MAX_DATASET_NAME_SIZE, required=True),
        digest=part("digest", validation.MAX_DATASET_DIGEST_SIZE, required=True),
        source_type=part("source_type", _MOST_SOURCE_TYPE, required=True),
        source=part("source", validation.MAX_DATASET_SOURCE_SIZE, required=True),
        schema=part("schema", validation.MAX_DATASET_SCHEMA_SIZE) or None,
        profile=part("profile", validation.MAX_DATASET_PROFILE_SIZE) or None,
    )
    return DatasetInput(dataset, [InputTag(key, value) for key, value in tags.items()])


def _model_inputs(items: Sequence[resources_pb2.LoggedModelInput]) -> list[LoggedModelInput]:
    """Return logged models to log as inputs."""
    fields.at_most("models", items, validation.MAX_DATASETS_PER_BATCH)
    return [
        LoggedModelInput(fields.model_id(item.model_id, f"models[{index}].model_id"))
        for index, item in enumerate(items)
    ]


def search_query(request: pb.SearchRunsRequest) -> tuple[list[str], pages.ListQuery]:
    """Return the experiments to search and the rest of the query."""
    if not request.experiment_ids:
        raise InvalidFieldError("experiment_ids", "is required")
    fields.at_most("experiment_ids", request.experiment_ids, 1000)
    ids = [
        fields.experiment_id(value, f"experiment_ids[{index}]")
        for index, value in enumerate(request.experiment_ids)
    ]
    query = pages.list_query(
        request, SearchUtils.parse_search_filter, SearchUtils.parse_order_by_for_search_runs
    )
    return ids, query


def metric_to_proto(metric: Metric) -> resources_pb2.Metric:
    """Return a point as a message."""
    return resources_pb2.Metric(
        key=metric.key,
        value=metric.value,
        timestamp_ms=metric.timestamp,
        step=metric.step,
        dataset_name=metric.dataset_name or "",
        dataset_digest=metric.dataset_digest or "",
        model_id=metric.model_id or "",
    )


def row_to_proto(row: MetricRow) -> resources_pb2.Metric:
    """Return a stored point as a message."""
    key, value, timestamp, step, is_nan, _ = row
    return resources_pb2.Metric(
        key=key, value=math.nan if is_nan else value, timestamp_ms=timestamp, step=step
    )


def run_to_proto(run: Run) -> resources_pb2.Run:
    """Return a run as a message."""
    info, data = run.info, run.data
    latest = sorted(data._metric_objs, key=lambda metric: str(metric.key))
    return resources_pb2.Run(
        info=resources_pb2.RunInfo(
            run_id=info.run_id,
            run_name=info.run_name or "",
            experiment_id=str(info.experiment_id),
            user_id=info.user_id or "",
            status=RunStatus.Value(f"RUN_STATUS_{info.status}"),
            start_time=fields.time_to_proto(info.start_time),
            end_time=fields.time_to_proto(info.end_time),
            artifact_uri=info.artifact_uri or "",
            lifecycle_stage=lifecycle_stage(info.lifecycle_stage),
        ),
        data=resources_pb2.RunData(
            metrics=[metric_to_proto(metric) for metric in latest],
            params=[
                resources_pb2.Param(key=key, value=data.params[key]) for key in sorted(data.params)
            ],
            tags=tags_to_proto(data.tags),
        ),
        inputs=_inputs_to_proto(run),
        outputs=resources_pb2.RunOutputs(
            models=[
                resources_pb2.LoggedModelOutput(model_id=model.model_id, step=model.step)
                for model in (run.outputs.model_outputs if run.outputs else ())
            ]
        ),
    )


def _inputs_to_proto(run: Run) -> resources_pb2.RunInputs:
    if not run.inputs:
        return resources_pb2.RunInputs()
    return resources_pb2.RunInputs(
        datasets=[
            resources_pb2.DatasetInput(
                tags=tags_to_proto({tag.key: tag.value for tag in used.tags}),
                dataset=resources_pb2.Dataset(
                    name=used.dataset.name,
                    digest=used.dataset.digest,
                    source_type=used.dataset.source_type,
                    source=used.dataset.source,
                    schema=used.dataset.schema or "",
                    profile=used.dataset.profile or "",
                ),
            )
            for used in run.inputs.dataset_inputs
        ],
        models=[
            resources_pb2.LoggedModelInput(model_id=model.model_id)
            for model in run.inputs.model_inputs or ()
        ],
    )
