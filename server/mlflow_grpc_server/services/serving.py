"""ModelServingService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from google.protobuf.struct_pb2 import Value

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from mlflow_grpc.v1.model_serving_service_pb2_grpc import ModelServingServiceServicer
from mlflow_grpc_server.convert import serving
from mlflow_grpc_server.exceptions import InvalidFieldError
from mlflow_grpc_server.services.context import Context
from mlflow_grpc_server.serving.engine import Engine

__all__ = ["ModelServingServicer"]


class ModelServingServicer(ModelServingServiceServicer):
    """Deployed models and their predictions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def DeployModel(
        self, request: pb.DeployModelRequest, context: Context
    ) -> pb.DeployModelResponse:
        spec = serving.spec_to_deploy(request)
        served = await self._engine.deploy(spec, wait=request.wait_until_ready)
        return pb.DeployModelResponse(served_model=serving.served_to_proto(served))

    async def ListServedModels(
        self, request: pb.ListServedModelsRequest, context: Context
    ) -> pb.ListServedModelsResponse:
        found = await self._engine.list_all()
        return pb.ListServedModelsResponse(served_models=map(serving.served_to_proto, found))

    async def GetServedModel(
        self, request: pb.GetServedModelRequest, context: Context
    ) -> pb.GetServedModelResponse:
        served = await self._engine.get(serving.served_name(request.name))
        return pb.GetServedModelResponse(served_model=serving.served_to_proto(served))

    async def WatchServedModel(
        self, request: pb.WatchServedModelRequest, context: Context
    ) -> AsyncIterator[pb.WatchServedModelResponse]:
        async for served in self._engine.watch(serving.served_name(request.name)):
            yield pb.WatchServedModelResponse(served_model=serving.served_to_proto(served))

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        name = serving.served_name(request.name)
        if request.WhichOneof("payload") is None:
            raise InvalidFieldError("json", "one of json, tensors and arrow is required")
        if request.HasField("json") and request.HasField("params"):
            raise InvalidFieldError("params", "goes with tensors and arrow; json holds its own")
        answer = await self._engine.predict(name, request.SerializeToString())
        response = pb.PredictResponse.FromString(answer.payload)
        response.model_uri = answer.model_uri
        return response

    async def PredictStream(
        self, request: pb.PredictStreamRequest, context: Context
    ) -> AsyncIterator[pb.PredictStreamResponse]:
        name = serving.served_name(request.name)
        if not request.HasField("json"):
            raise InvalidFieldError("json", "is required")
        async with aclosing(self._engine.stream(name, request.SerializeToString())) as answers:
            async for answer in answers:
                item = Value.FromString(answer.payload)
                yield pb.PredictStreamResponse(item=item, model_uri=answer.model_uri)

    async def UndeployModel(
        self, request: pb.UndeployModelRequest, context: Context
    ) -> pb.UndeployModelResponse:
        await self._engine.undeploy(serving.served_name(request.name))
        return pb.UndeployModelResponse()
