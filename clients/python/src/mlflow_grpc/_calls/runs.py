"""The calls of RunService."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsFloat

from mlflow_grpc import _convert as convert
from mlflow_grpc._calls.call import Call, Page, Pages, Service, chunks, done
from mlflow_grpc._entities import DatasetInput, LoggedModelInput, Metric, Run
from mlflow_grpc._enums import RunStatus, ViewType
from mlflow_grpc.v1 import resources_pb2
from mlflow_grpc.v1 import run_service_pb2 as pb

# What the server takes in one request.
MAX_METRICS = 1000
MAX_PARAMS = 100
MAX_TAGS = 100

_call = Service(pb.DESCRIPTOR.services_by_name["RunService"])


def get_run(run_id: str) -> Call[Run]:
    return _call(pb.GetRunRequest(run_id=run_id), pb.GetRunResponse, lambda r: convert.run(r.run))


def search_runs(
    experiment_ids: str | Sequence[str],
    filter_string: str | None,
    run_view_type: ViewType | str,
    max_results: int | None,
    order_by: Sequence[str] | None,
    page_size: int | None,
) -> Pages[Run]:
    # A string is a sequence of strings too, of its digits; nobody means that.
    ids = [experiment_ids] if isinstance(experiment_ids, str) else list(experiment_ids)
    view = convert.view_type_to_proto(run_view_type)

    def page(size: int, token: str) -> Call[Page[Run]]:
        return _call(
            pb.SearchRunsRequest(
                experiment_ids=ids,
                page_size=size,
                page_token=token,
                filter=filter_string or "",
                order_by=order_by or (),
                view_type=view,
            ),
            pb.SearchRunsResponse,
            lambda r: Page(list(map(convert.run, r.runs)), r.next_page_token),
        )

    return Pages(page, max_results, page_size)


def log_metric(
    run_id: str,
    key: str,
    value: SupportsFloat,
    timestamp: int | None,
    step: int | None,
    dataset_name: str | None,
    dataset_digest: str | None,
    model_id: str | None,
) -> Call[None]:
    point = Metric(
        key=key,
        value=float(value),
        timestamp=timestamp,
        step=step or 0,
        model_id=model_id,
        dataset_name=dataset_name,
        dataset_digest=dataset_digest,
    )
    return _log_metrics(run_id, [convert.metric_to_proto(point, convert.now_ms())])


def log_metrics(
    run_id: str,
    metrics: Mapping[str, SupportsFloat] | Iterable[Metric],
    step: int | None,
    timestamp: int | None,
) -> list[Call[None]]:
    now = convert.now_ms()
    if isinstance(metrics, Mapping):
        points: Iterable[Metric] = [
            Metric(key, float(value), timestamp, step or 0) for key, value in metrics.items()
        ]
    elif step is not None or timestamp is not None:
        raise ValueError("step and timestamp go with a mapping; a Metric has its own")
    else:
        points = metrics
    protos = [convert.metric_to_proto(point, now) for point in points]
    return [_log_metrics(run_id, chunk) for chunk in chunks(protos, MAX_METRICS)]


def _log_metrics(run_id: str, metrics: list[resources_pb2.Metric]) -> Call[None]:
    return _call(pb.LogMetricsRequest(run_id=run_id, metrics=metrics), pb.LogMetricsResponse, done)


def log_params(run_id: str, params: Mapping[str, object]) -> list[Call[None]]:
    return [
        _call(pb.LogParamsRequest(run_id=run_id, params=chunk), pb.LogParamsResponse, done)
        for chunk in chunks(convert.params_to_proto(params), MAX_PARAMS)
    ]


def log_param(run_id: str, key: str, value: object) -> Call[None]:
    params = convert.params_to_proto({key: value})
    return _call(pb.LogParamsRequest(run_id=run_id, params=params), pb.LogParamsResponse, done)


def set_tags(run_id: str, tags: Mapping[str, object]) -> list[Call[None]]:
    return [
        _call(pb.SetTagsRequest(run_id=run_id, tags=chunk), pb.SetTagsResponse, done)
        for chunk in chunks(convert.tags_to_proto(tags), MAX_TAGS)
    ]


def set_tag(run_id: str, key: str, value: object) -> Call[None]:
    tags = convert.tags_to_proto({key: value})
    return _call(pb.SetTagsRequest(run_id=run_id, tags=tags), pb.SetTagsResponse, done)


def delete_tag(run_id: str, key: str) -> Call[None]:
    return _call(pb.DeleteTagRequest(run_id=run_id, key=key), pb.DeleteTagResponse, done)


def log_batch(
    run_id: str,
    metrics: Iterable[Metric],
    params: Mapping[str, object] | None,
    tags: Mapping[str, object] | None,
) -> Call[None]:
    now = convert.now_ms()
    return _call(
        pb.LogBatchRequest(
            run_id=run_id,
            metrics=[convert.metric_to_proto(point, now) for point in metrics],
            params=convert.params_to_proto(params),
            tags=convert.tags_to_proto(tags),
        ),
        pb.LogBatchResponse,
        done,
    )


def log_inputs(
    run_id: str, datasets: Iterable[DatasetInput], models: Iterable[LoggedModelInput]
) -> Call[None]:
    return _call(
        pb.LogInputsRequest(
            run_id=run_id,
            datasets=map(convert.dataset_input_to_proto, datasets),
            models=[resources_pb2.LoggedModelInput(model_id=model.model_id) for model in models],
        ),
        pb.LogInputsResponse,
        done,
    )


def get_metric_history(
    run_id: str, key: str, max_results: int | None, page_size: int | None
) -> Pages[Metric]:
    def page(size: int, token: str) -> Call[Page[Metric]]:
        return _call(
            pb.GetMetricHistoryRequest(
                run_id=run_id, metric_key=key, page_size=size, page_token=token
            ),
            pb.GetMetricHistoryResponse,
            lambda r: Page(list(map(convert.metric, r.metrics)), r.next_page_token),
        )

    return Pages(page, max_results, page_size)


def update_run(
    run_id: str, status: RunStatus | str | None, name: str | None, description: str | None
) -> Call[Run]:
    return _call(
        pb.UpdateRunRequest(
            run_id=run_id,
            run_name=name,
            status=None if status is None else convert.run_status_to_proto(status),
            description=description,
        ),
        pb.UpdateRunResponse,
        lambda r: convert.run(r.run),
    )


def delete_run(run_id: str) -> Call[None]:
    return _call(pb.DeleteRunRequest(run_id=run_id), pb.DeleteRunResponse, done)


def restore_run(run_id: str) -> Call[Run]:
    return _call(
        pb.RestoreRunRequest(run_id=run_id),
        pb.RestoreRunResponse,
        lambda r: convert.run(r.run),
    )
