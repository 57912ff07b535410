"""The calls of ModelRegistryService."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow_grpc import _convert as convert
from mlflow_grpc._calls.call import Call, Page, Pages, Service, done
from mlflow_grpc._entities import ModelVersion, RegisteredModel
from mlflow_grpc._enums import ModelVersionStage
from mlflow_grpc.v1 import model_registry_service_pb2 as pb

_call = Service(pb.DESCRIPTOR.services_by_name["ModelRegistryService"])


def create_registered_model(
    name: str, tags: Mapping[str, object] | None, description: str | None
) -> Call[RegisteredModel]:
    return _call(
        pb.CreateRegisteredModelRequest(
            name=name, tags=convert.tags_to_proto(tags), description=description or ""
        ),
        pb.CreateRegisteredModelResponse,
        lambda r: convert.registered_model(r.registered_model),
    )


def get_registered_model(name: str) -> Call[RegisteredModel]:
    return _call(
        pb.GetRegisteredModelRequest(name=name),
        pb.GetRegisteredModelResponse,
        lambda r: convert.registered_model(r.registered_model),
    )


def search_registered_models(
    filter_string: str | None,
    max_results: int | None,
    order_by: Sequence[str] | None,
    page_size: int | None,
) -> Pages[RegisteredModel]:
    def page(size: int, token: str) -> Call[Page[RegisteredModel]]:
        return _call(
            pb.ListRegisteredModelsRequest(
                page_size=size,
                page_token=token,
                filter=filter_string or "",
                order_by=order_by or (),
            ),
            pb.ListRegisteredModelsResponse,
            lambda r: Page(
                list(map(convert.registered_model, r.registered_models)), r.next_page_token
            ),
        )

    return Pages(page, max_results, page_size)


def update_registered_model(name: str, description: str) -> Call[RegisteredModel]:
    return _call(
        pb.UpdateRegisteredModelRequest(name=name, description=description),
        pb.UpdateRegisteredModelResponse,
        lambda r: convert.registered_model(r.registered_model),
    )


def rename_registered_model(name: str, new_name: str) -> Call[RegisteredModel]:
    return _call(
        pb.RenameRegisteredModelRequest(name=name, new_name=new_name),
        pb.RenameRegisteredModelResponse,
        lambda r: convert.registered_model(r.registered_model),
    )


def delete_registered_model(name: str) -> Call[None]:
    return _call(pb.DeleteRegisteredModelRequest(name=name), pb.DeleteRegisteredModelResponse, done)


def set_registered_model_tag(name: str, key: str, value: object) -> Call[None]:
    return _call(
        pb.SetRegisteredModelTagRequest(name=name, key=key, value=str(value)),
        pb.SetRegisteredModelTagResponse,
        done,
    )


def delete_registered_model_tag(name: str, key: str) -> Call[None]:
    return _call(
        pb.DeleteRegisteredModelTagRequest(name=name, key=key),
        pb.DeleteRegisteredModelTagResponse,
        done,
    )


def set_registered_model_alias(name: str, alias: str, version: str | int) -> Call[None]:
    return _call(
        pb.SetRegisteredModelAliasRequest(name=name, alias=alias, version=str(version)),
        pb.SetRegisteredModelAliasResponse,
        done,
    )


def delete_registered_model_alias(name: str, alias: str) -> Call[None]:
    return _call(
        pb.DeleteRegisteredModelAliasRequest(name=name, alias=alias),
        pb.DeleteRegisteredModelAliasResponse,
        done,
    )


def get_model_version_by_alias(name: str, alias: str) -> Call[ModelVersion]:
    return _call(
        pb.GetModelVersionByAliasRequest(name=name, alias=alias),
        pb.GetModelVersionByAliasResponse,
        lambda r: convert.model_version(r.model_version),
    )


def register_model(
    name: str,
    source: str,
    run_id: str | None,
    tags: Mapping[str, object] | None,
    run_link: str | None,
    description: str | None,
    model_id: str | None,
) -> Call[ModelVersion]:
    return _call(
        pb.RegisterModelRequest(
            name=name,
            source=source,
            run_id=run_id or "",
            tags=convert.tags_to_proto(tags),
            description=description or "",
            run_link=run_link or "",
            model_id=model_id or "",
        ),
        pb.RegisterModelResponse,
        lambda r: convert.model_version(r.model_version),
    )


def search_model_versions(
    filter_string: str | None,
    max_results: int | None,
    order_by: Sequence[str] | None,
    name: str | None,
    page_size: int | None,
) -> Pages[ModelVersion]:
    def page(size: int, token: str) -> Call[Page[ModelVersion]]:
        return _call(
            pb.ListModelVersionsRequest(
                name=name or "",
                page_size=size,
                page_token=token,
                filter=filter_string or "",
                order_by=order_by or (),
            ),
            pb.ListModelVersionsResponse,
            lambda r: Page(list(map(convert.model_version, r.model_versions)), r.next_page_token),
        )

    return Pages(page, max_results, page_size)


def get_model_version(name: str, version: str | int) -> Call[ModelVersion]:
    return _call(
        pb.GetModelVersionRequest(name=name, version=str(version)),
        pb.GetModelVersionResponse,
        lambda r: convert.model_version(r.model_version),
    )


def update_model_version(name: str, version: str | int, description: str) -> Call[ModelVersion]:
    return _call(
        pb.UpdateModelVersionRequest(name=name, version=str(version), description=description),
        pb.UpdateModelVersionResponse,
        lambda r: convert.model_version(r.model_version),
    )


def delete_model_version(name: str, version: str | int) -> Call[None]:
    return _call(
        pb.DeleteModelVersionRequest(name=name, version=str(version)),
        pb.DeleteModelVersionResponse,
        done,
    )


def transition_model_version_stage(
    name: str,
    version: str | int,
    stage: ModelVersionStage | str,
    archive_existing_versions: bool,
) -> Call[ModelVersion]:
    return _call(
        pb.TransitionModelVersionStageRequest(
            name=name,
            version=str(version),
            stage=convert.stage_to_proto(stage),
            archive_existing_versions=archive_existing_versions,
        ),
        pb.TransitionModelVersionStageResponse,
        lambda r: convert.model_version(r.model_version),
    )


def set_model_version_tag(name: str, version: str | int, key: str, value: object) -> Call[None]:
    return _call(
        pb.SetModelVersionTagRequest(name=name, version=str(version), key=key, value=str(value)),
        pb.SetModelVersionTagResponse,
        done,
    )


def delete_model_version_tag(name: str, version: str | int, key: str) -> Call[None]:
    return _call(
        pb.DeleteModelVersionTagRequest(name=name, version=str(version), key=key),
        pb.DeleteModelVersionTagResponse,
        done,
    )


def copy_model_version(name: str, version: str | int, dst_name: str) -> Call[ModelVersion]:
    return _call(
        pb.CopyModelVersionRequest(name=name, version=str(version), destination_name=dst_name),
        pb.CopyModelVersionResponse,
        lambda r: convert.model_version(r.model_version),
    )
