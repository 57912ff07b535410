"""The calls of ExperimentService."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow_grpc import _convert as convert
from mlflow_grpc._calls.call import Call, Page, Pages, Service, done
from mlflow_grpc._entities import Experiment, Run
from mlflow_grpc._enums import RunStatus, ViewType
from mlflow_grpc.v1 import experiment_service_pb2 as pb

_call = Service(pb.DESCRIPTOR.services_by_name["ExperimentService"])


def search_experiments(
    view_type: ViewType | str,
    max_results: int | None,
    filter_string: str | None,
    order_by: Sequence[str] | None,
    page_size: int | None,
) -> Pages[Experiment]:
    view = convert.view_type_to_proto(view_type)

    def page(size: int, token: str) -> Call[Page[Experiment]]:
        return _call(
            pb.ListExperimentsRequest(
                page_size=size,
                page_token=token,
                filter=filter_string or "",
                order_by=order_by or (),
                view_type=view,
            ),
            pb.ListExperimentsResponse,
            lambda r: Page(list(map(convert.experiment, r.experiments)), r.next_page_token),
        )

    return Pages(page, max_results, page_size)


def create_experiment(
    name: str,
    artifact_location: str | None,
    tags: Mapping[str, object] | None,
    description: str | None,
) -> Call[str]:
    return _call(
        pb.CreateExperimentRequest(
            name=name,
            description=description or "",
            tags=convert.tags_to_proto(tags),
            artifact_location=artifact_location or "",
        ),
        pb.CreateExperimentResponse,
        lambda r: r.experiment.experiment_id,
    )


def get_experiment(experiment_id: str) -> Call[Experiment]:
    return _call(
        pb.GetExperimentRequest(experiment_id=experiment_id),
        pb.GetExperimentResponse,
        lambda r: convert.experiment(r.experiment),
    )


def get_experiment_by_name(name: str) -> Call[Experiment]:
    return _call(
        pb.GetExperimentByNameRequest(name=name),
        pb.GetExperimentByNameResponse,
        lambda r: convert.experiment(r.experiment),
    )


def update_experiment(
    experiment_id: str, name: str | None, description: str | None
) -> Call[Experiment]:
    return _call(
        pb.UpdateExperimentRequest(experiment_id=experiment_id, name=name, description=description),
        pb.UpdateExperimentResponse,
        lambda r: convert.experiment(r.experiment),
    )


def delete_experiment(experiment_id: str) -> Call[None]:
    return _call(
        pb.DeleteExperimentRequest(experiment_id=experiment_id), pb.DeleteExperimentResponse, done
    )


def restore_experiment(experiment_id: str) -> Call[Experiment]:
    return _call(
        pb.RestoreExperimentRequest(experiment_id=experiment_id),
        pb.RestoreExperimentResponse,
        lambda r: convert.experiment(r.experiment),
    )


def set_experiment_tag(experiment_id: str, key: str, value: object) -> Call[None]:
    return _call(
        pb.SetExperimentTagRequest(experiment_id=experiment_id, key=key, value=str(value)),
        pb.SetExperimentTagResponse,
        done,
    )


def delete_experiment_tag(experiment_id: str, key: str) -> Call[None]:
    return _call(
        pb.DeleteExperimentTagRequest(experiment_id=experiment_id, key=key),
        pb.DeleteExperimentTagResponse,
        done,
    )


def start_run(
    experiment_id: str,
    start_time: int | None,
    tags: Mapping[str, object] | None,
    run_name: str | None,
    description: str | None,
) -> Call[Run]:
    # Start and end are both by the client's clock, so that a duration is never off by the
    # difference of two clocks.
    started = convert.now_ms() if start_time is None else start_time
    return _call(
        pb.StartRunRequest(
            experiment_id=experiment_id,
            run_name=run_name or "",
            start_time=convert.time_to_proto(started),
            tags=convert.tags_to_proto(tags),
            description=description or "",
        ),
        pb.StartRunResponse,
        lambda r: convert.run(r.run),
    )


def end_run(run_id: str, status: RunStatus | str | None, end_time: int | None) -> Call[Run]:
    ended = convert.now_ms() if end_time is None else end_time
    return _call(
        pb.EndRunRequest(
            run_id=run_id,
            status=convert.run_status_to_proto(RunStatus.FINISHED if status is None else status),
            end_time=convert.time_to_proto(ended),
        ),
        pb.EndRunResponse,
        lambda r: convert.run(r.run),
    )
