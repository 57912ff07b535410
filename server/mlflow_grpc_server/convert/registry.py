"""Registered models and their versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.store.model_registry.dbmodels.models import (
    SqlModelVersion,
    SqlRegisteredModel,
    SqlRegisteredModelTag,
)
from mlflow.utils import validation
from mlflow.utils.search_utils import SearchModelUtils, SearchModelVersionUtils

from mlflow_grpc.v1 import model_registry_service_pb2 as pb
from mlflow_grpc.v1 import resources_pb2
from mlflow_grpc.v1.resources_pb2 import ModelVersionStage, ModelVersionStatus
from mlflow_grpc_server.convert import fields, pages
from mlflow_grpc_server.convert.common import tags_to_proto
from mlflow_grpc_server.exceptions import InvalidFieldError

__all__ = [
    "VersionToRegister",
    "alias_to_set",
    "description",
    "model_tag",
    "model_tags",
    "models_query",
    "registered_model_to_proto",
    "stage",
    "version_tag",
    "version_to_proto",
    "version_to_register",
    "versions_query",
]

_MOST_DESCRIPTION: int = SqlRegisteredModel.__table__.c.description.type.length
_MOST_MODEL_TAG: int = SqlRegisteredModelTag.__table__.c.value.type.length
_MOST_SOURCE: int = SqlModelVersion.__table__.c.source.type.length
_MOST_RUN_LINK: int = SqlModelVersion.__table__.c.run_link.type.length

_STAGES: dict[int, str] = {
    ModelVersionStage.MODEL_VERSION_STAGE_NONE: "None",
    ModelVersionStage.MODEL_VERSION_STAGE_STAGING: "Staging",
    ModelVersionStage.MODEL_VERSION_STAGE_PRODUCTION: "Production",
    ModelVersionStage.MODEL_VERSION_STAGE_ARCHIVED: "Archived",
}


@dataclass(frozen=True)
class VersionToRegister:
    """A checked RegisterModelRequest; None is what the source decides."""

    name: str
    source: str
    run_id: str | None
    model_id: str | None
    tags: dict[str, str]
    description: str | None
    run_link: str | None


def description(value: str) -> str:
    """Return a description of a registered model or version."""
    return fields.text("description", value, _MOST_DESCRIPTION)


def model_tags(request: pb.CreateRegisteredModelRequest) -> dict[str, str]:
    """Return the tags of a registered model to create."""
    return fields.tags(request.tags, _MOST_MODEL_TAG)


def model_tag(request: pb.SetRegisteredModelTagRequest) -> tuple[str, str]:
    """Return the key and the value to set."""
    return fields.key("key", request.key), fields.text("value", request.value, _MOST_MODEL_TAG)


def version_tag(request: pb.SetModelVersionTagRequest) -> tuple[str, str]:
    """Return the key and the value to set."""
    most = validation.MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH
    return fields.key("key", request.key), fields.text("value", request.value, most)


def alias_to_set(value: str) -> str:
    """Return an alias that may be given to a version."""
    alias = fields.model_alias(value)
    with fields.blame("alias"):
        validation._validate_model_alias_name_reserved(alias)
    return alias


def stage(request: pb.TransitionModelVersionStageRequest) -> str:
    """Return the stage to move to, in MLflow's words."""
    name = fields.one_of("stage", request.stage, _STAGES)
    if request.archive_existing_versions and name not in ("Staging", "Production"):
        raise InvalidFieldError(
            "archive_existing_versions", f"goes with Staging and Production, not with {name}"
        )
    return name


def version_to_register(request: pb.RegisterModelRequest) -> VersionToRegister:
    """Check a RegisterModelRequest."""
    return VersionToRegister(
        name=fields.model_name(request.name),
        source=fields.text("source", request.source, _MOST_SOURCE, required=True),
        run_id=fields.run_id(request.run_id) if request.run_id else None,
        model_id=fields.model_id(request.model_id) if request.model_id else None,
        tags=fields.tags(request.tags, validation.MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH),
        description=description(request.description) or None,
        run_link=fields.text("run_link", request.run_link, _MOST_RUN_LINK) or None,
    )


def models_query(request: pb.ListRegisteredModelsRequest) -> pages.ListQuery:
    """Check a ListRegisteredModelsRequest."""
    return pages.list_query(
        request,
        SearchModelUtils.parse_search_filter,
        _only_columns(
            SearchModelUtils.parse_order_by_for_search_registered_models,
            SearchModelUtils.VALID_ORDER_BY_KEYS_REGISTERED_MODELS,
        ),
    )


def versions_query(request: pb.ListModelVersionsRequest) -> tuple[str | None, pages.ListQuery]:
    """Return the registered model, None for all, and the rest of the query."""
    name = fields.model_name(request.name) if request.name else None
    if name and "'" in name and '"' in name:
        raise InvalidFieldError("name", "holds both kinds of quotes, which no filter can express")
    query = pages.list_query(
        request,
        SearchModelVersionUtils.parse_search_filter,
        _only_columns(
            SearchModelVersionUtils.parse_order_by_for_search_model_versions,
            SearchModelVersionUtils.VALID_ORDER_BY_ATTRIBUTE_KEYS,
        ),
    )
    return name, query


def _only_columns(
    parse: Callable[[str], tuple[Any, ...]], columns: set[str]
) -> Callable[[str], tuple[Any, ...]]:
    def parse_known(clause: str) -> tuple[Any, ...]:
        parsed = parse(clause)
        if not columns & {str(part) for part in parsed}:
            raise ValueError(f"the columns are {', '.join(sorted(columns))}")
        return parsed

    return parse_known


def registered_model_to_proto(model: RegisteredModel) -> resources_pb2.RegisteredModel:
    """Return a registered model as a message."""
    return resources_pb2.RegisteredModel(
        name=model.name,
        create_time=fields.time_to_proto(model.creation_timestamp),
        update_time=fields.time_to_proto(model.last_updated_timestamp),
        description=model.description or "",
        latest_versions=[version_to_proto(version) for version in model.latest_versions or ()],
        tags=tags_to_proto(model.tags),
        aliases=[
            resources_pb2.RegisteredModelAlias(alias=alias, version=str(model.aliases[alias]))
            for alias in sorted(model.aliases)
        ],
    )


def version_to_proto(version: ModelVersion) -> resources_pb2.ModelVersion:
    """Return a model version as a message."""
    return resources_pb2.ModelVersion(
        name=version.name,
        version=str(version.version),
        create_time=fields.time_to_proto(version.creation_timestamp),
        update_time=fields.time_to_proto(version.last_updated_timestamp),
        description=version.description or "",
        user_id=version.user_id or "",
        current_stage=ModelVersionStage.Value(
            f"MODEL_VERSION_STAGE_{(version.current_stage or 'None').upper()}"
        ),
        source=version.source or "",
        run_id=version.run_id or "",
        status=ModelVersionStatus.Value(f"MODEL_VERSION_STATUS_{version.status}"),
        status_message=version.status_message or "",
        tags=tags_to_proto(version.tags),
        run_link=version.run_link or "",
        aliases=sorted(version.aliases or ()),
        model_id=version.model_id or "",
    )
