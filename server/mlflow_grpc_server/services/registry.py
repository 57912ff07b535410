"""ModelRegistryService."""

from __future__ import annotations

from mlflow_grpc.v1 import model_registry_service_pb2 as pb
from mlflow_grpc.v1.model_registry_service_pb2_grpc import ModelRegistryServiceServicer
from mlflow_grpc_server.convert import fields, pages, registry
from mlflow_grpc_server.services.context import Context
from mlflow_grpc_server.tracking.pool import BlockingPool
from mlflow_grpc_server.tracking.registry import Registry

__all__ = ["ModelRegistryServicer"]


class ModelRegistryServicer(ModelRegistryServiceServicer):
    """Registered models, their versions, stages, aliases and tags."""

    def __init__(self, registry: Registry, pool: BlockingPool) -> None:
        self._registry = registry
        self._pool = pool

    async def ListRegisteredModels(
        self, request: pb.ListRegisteredModelsRequest, context: Context
    ) -> pb.ListRegisteredModelsResponse:
        query = registry.models_query(request)
        found = await self._pool.run(self._registry.search_models, query)
        return pages.respond(
            pb.ListRegisteredModelsResponse(),
            "registered_models",
            map(registry.registered_model_to_proto, found),
            query.page,
            found.token,
        )

    async def CreateRegisteredModel(
        self, request: pb.CreateRegisteredModelRequest, context: Context
    ) -> pb.CreateRegisteredModelResponse:
        name = fields.model_name(request.name)
        description = registry.description(request.description)
        tags = registry.model_tags(request)
        model = await self._pool.run(self._registry.create_model, name, tags, description)
        return pb.CreateRegisteredModelResponse(
            registered_model=registry.registered_model_to_proto(model)
        )

    async def GetRegisteredModel(
        self, request: pb.GetRegisteredModelRequest, context: Context
    ) -> pb.GetRegisteredModelResponse:
        name = fields.model_name(request.name)
        model = await self._pool.run(self._registry.get_model, name)
        return pb.GetRegisteredModelResponse(
            registered_model=registry.registered_model_to_proto(model)
        )

    async def UpdateRegisteredModel(
        self, request: pb.UpdateRegisteredModelRequest, context: Context
    ) -> pb.UpdateRegisteredModelResponse:
        name = fields.model_name(request.name)
        description = registry.description(request.description)
        model = await self._pool.run(self._registry.update_model, name, description)
        return pb.UpdateRegisteredModelResponse(
            registered_model=registry.registered_model_to_proto(model)
        )

    async def RenameRegisteredModel(
        self, request: pb.RenameRegisteredModelRequest, context: Context
    ) -> pb.RenameRegisteredModelResponse:
        name = fields.model_name(request.name)
        new_name = fields.model_name(request.new_name, "new_name")
        model = await self._pool.run(self._registry.rename_model, name, new_name)
        return pb.RenameRegisteredModelResponse(
            registered_model=registry.registered_model_to_proto(model)
        )

    async def DeleteRegisteredModel(
        self, request: pb.DeleteRegisteredModelRequest, context: Context
    ) -> pb.DeleteRegisteredModelResponse:
        name = fields.model_name(request.name)
        await self._pool.run(self._registry.delete_model, name)
        return pb.DeleteRegisteredModelResponse()

    async def SetRegisteredModelTag(
        self, request: pb.SetRegisteredModelTagRequest, context: Context
    ) -> pb.SetRegisteredModelTagResponse:
        name = fields.model_name(request.name)
        key, value = registry.model_tag(request)
        await self._pool.run(self._registry.set_model_tag, name, key, value)
        return pb.SetRegisteredModelTagResponse()

    async def DeleteRegisteredModelTag(
        self, request: pb.DeleteRegisteredModelTagRequest, context: Context
    ) -> pb.DeleteRegisteredModelTagResponse:
        name = fields.model_name(request.name)
        key = fields.key("key", request.key)
        await self._pool.run(self._registry.delete_model_tag, name, key)
        return pb.DeleteRegisteredModelTagResponse()

    async def SetRegisteredModelAlias(
        self, request: pb.SetRegisteredModelAliasRequest, context: Context
    ) -> pb.SetRegisteredModelAliasResponse:
        name = fields.model_name(request.name)
        alias = registry.alias_to_set(request.alias)
        version = fields.model_version(request.version)
        await self._pool.run(self._registry.set_alias, name, alias, version)
        return pb.SetRegisteredModelAliasResponse()

    async def DeleteRegisteredModelAlias(
        self, request: pb.DeleteRegisteredModelAliasRequest, context: Context
    ) -> pb.DeleteRegisteredModelAliasResponse:
        name = fields.model_name(request.name)
        alias = fields.model_alias(request.alias)
        await self._pool.run(self._registry.delete_alias, name, alias)
        return pb.DeleteRegisteredModelAliasResponse()

    async def GetModelVersionByAlias(
        self, request: pb.GetModelVersionByAliasRequest, context: Context
    ) -> pb.GetModelVersionByAliasResponse:
        name = fields.model_name(request.name)
        alias = fields.model_alias(request.alias)
        found = await self._pool.run(self._registry.get_version_by_alias, name, alias)
        return pb.GetModelVersionByAliasResponse(model_version=registry.version_to_proto(found))

    async def RegisterModel(
        self, request: pb.RegisterModelRequest, context: Context
    ) -> pb.RegisterModelResponse:
        wanted = registry.version_to_register(request)
        found = await self._pool.run(self._registry.register, wanted)
        return pb.RegisterModelResponse(model_version=registry.version_to_proto(found))

    async def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, context: Context
    ) -> pb.ListModelVersionsResponse:
        name, query = registry.versions_query(request)
        found = await self._pool.run(self._registry.search_versions, name, query)
        return pages.respond(
            pb.ListModelVersionsResponse(),
            "model_versions",
            map(registry.version_to_proto, found),
            query.page,
            found.token,
        )

    async def GetModelVersion(
        self, request: pb.GetModelVersionRequest, context: Context
    ) -> pb.GetModelVersionResponse:
        name = fields.model_name(request.name)
        version = fields.model_version(request.version)
        found = await self._pool.run(self._registry.get_version, name, version)
        return pb.GetModelVersionResponse(model_version=registry.version_to_proto(found))

    async def UpdateModelVersion(
        self, request: pb.UpdateModelVersionRequest, context: Context
    ) -> pb.UpdateModelVersionResponse:
        name = fields.model_name(request.name)
        version = fields.model_version(request.version)
        description = registry.description(request.description)
        found = await self._pool.run(self._registry.update_version, name, version, description)
        return pb.UpdateModelVersionResponse(model_version=registry.version_to_proto(found))

    async def DeleteModelVersion(
        self, request: pb.DeleteModelVersionRequest, context: Context
    ) -> pb.DeleteModelVersionResponse:
        name = fields.model_name(request.name)
        version = fields.model_version(request.version)
        await self._pool.run(self._registry.delete_version, name, version)
        return pb.DeleteModelVersionResponse()

    async def TransitionModelVersionStage(
        self, request: pb.TransitionModelVersionStageRequest, context: Context
    ) -> pb.TransitionModelVersionStageResponse:
        name = fields.model_name(request.name)
        version = fields.model_version(request.version)
        stage = registry.stage(request)
        found = await self._pool.run(
            self._registry.transition_stage,
            name,
            version,
            stage,
            archive_existing=request.archive_existing_versions,
        )
        return pb.TransitionModelVersionStageResponse(
            model_version=registry.version_to_proto(found)
        )

    async def SetModelVersionTag(
        self, request: pb.SetModelVersionTagRequest, context: Context
    ) -> pb.SetModelVersionTagResponse:
        name = fields.model_name(request.name)
        version = fields.model_version(request.version)
        key, value = registry.version_tag(request)
        await self._pool.run(self._registry.set_version_tag, name, version, key, value)
        return pb.SetModelVersionTagResponse()

    async def DeleteModelVersionTag(
        self, request: pb.DeleteModelVersionTagRequest, context: Context
    ) -> pb.DeleteModelVersionTagResponse:
        name = fields.model_name(request.name)
        version = fields.model_version(request.version)
        key = fields.key("key", request.key)
        await self._pool.run(self._registry.delete_version_tag, name, version, key)
        return pb.DeleteModelVersionTagResponse()

    async def CopyModelVersion(
        self, request: pb.CopyModelVersionRequest, context: Context
    ) -> pb.CopyModelVersionResponse:
        name = fields.model_name(request.name)
        version = fields.model_version(request.version)
        destination = fields.model_name(request.destination_name, "destination_name")
        found = await self._pool.run(self._registry.copy_version, name, version, destination)
        return pb.CopyModelVersionResponse(model_version=registry.version_to_proto(found))
