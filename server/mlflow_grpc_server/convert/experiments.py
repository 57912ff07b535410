"""Experiments."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow.entities import Experiment
from mlflow.store.tracking.dbmodels.models import SqlExperiment
from mlflow.utils import validation
from mlflow.utils.search_utils import SearchExperimentsUtils
from mlflow.utils.uri import validate_query_string

from mlflow_grpc.v1 import experiment_service_pb2 as pb
from mlflow_grpc.v1 import resources_pb2
from mlflow_grpc_server.convert import fields, pages
from mlflow_grpc_server.convert.common import lifecycle_stage, tags_to_proto
from mlflow_grpc_server.exceptions import InvalidFieldError

__all__ = [
    "ExperimentToCreate",
    "experiment_change",
    "experiment_name",
    "experiment_tag",
    "experiment_to_create",
    "experiment_to_proto",
    "list_query",
]

_MOST_NAME: int = SqlExperiment.__table__.c.name.type.length
_MOST_LOCATION: int = SqlExperiment.__table__.c.artifact_location.type.length


@dataclass(frozen=True)
class ExperimentToCreate:
    """A checked CreateExperimentRequest."""

    name: str
    artifact_location: str | None
    tags: dict[str, str]


def experiment_name(value: str) -> str:
    """Return an experiment's name."""
    return fields.text("name", value, _MOST_NAME, required=True)


def experiment_to_create(request: pb.CreateExperimentRequest) -> ExperimentToCreate:
    """Check a CreateExperimentRequest."""
    tags = fields.tags_with_description(
        request.tags, request.description, validation.MAX_EXPERIMENT_TAG_VAL_LENGTH
    )
    for index, tag in enumerate(request.tags):
        with fields.blame(f"tags[{index}].value"):
            validation._validate_experiment_tag(tag.key, tag.value)
    return ExperimentToCreate(
        name=experiment_name(request.name),
        artifact_location=_artifact_location(request.artifact_location),
        tags=tags,
    )


def _artifact_location(value: str) -> str | None:
    field = "artifact_location"
    if not fields.text(field, value, _MOST_LOCATION):
        return None
    if "#" in value or ";" in value:
        raise InvalidFieldError(field, "may not have a fragment or parameters")
    is_local = fields.is_local(field, value)
    with fields.blame(field):
        validation._validate_experiment_artifact_location(value)
        if not is_local:
            validate_query_string(value.partition("?")[2])
    return value


def experiment_change(request: pb.UpdateExperimentRequest) -> tuple[str | None, str | None]:
    """Return the new name and the new description, None for what stays."""
    name = experiment_name(request.name) if request.HasField("name") else None
    description = None
    if request.HasField("description"):
        most = validation.MAX_EXPERIMENT_TAG_VAL_LENGTH
        description = fields.text("description", request.description, most)
    if name is None and description is None:
        raise InvalidFieldError("name", "or description must be given")
    return name, description


def experiment_tag(request: pb.SetExperimentTagRequest) -> tuple[str, str]:
    """Return the key and the value to set."""
    key = fields.key("key", request.key)
    value = fields.text("value", request.value, validation.MAX_EXPERIMENT_TAG_VAL_LENGTH)
    with fields.blame("value"):
        validation._validate_experiment_tag(key, value)
    return key, value


def list_query(request: pb.ListExperimentsRequest) -> pages.ListQuery:
    """Check a ListExperimentsRequest."""
    return pages.list_query(
        request,
        SearchExperimentsUtils.parse_search_filter,
        _parse_order_by,
    )


def _parse_order_by(clause: str) -> tuple[str, str, bool]:
    kind, column, ascending = SearchExperimentsUtils.parse_order_by_for_search_experiments(clause)
    if kind != "attribute":
        raise ValueError("experiments are ordered by their own columns")
    return kind, column, ascending


def experiment_to_proto(experiment: Experiment) -> resources_pb2.Experiment:
    """Return an experiment as a message."""
    return resources_pb2.Experiment(
        experiment_id=experiment.experiment_id,
        name=experiment.name,
        artifact_location=experiment.artifact_location,
        lifecycle_stage=lifecycle_stage(experiment.lifecycle_stage),
        create_time=fields.time_to_proto(experiment.creation_time),
        update_time=fields.time_to_proto(experiment.last_update_time),
        tags=tags_to_proto(experiment.tags),
        description=experiment.tags.get(fields.DESCRIPTION_TAG, ""),
    )
