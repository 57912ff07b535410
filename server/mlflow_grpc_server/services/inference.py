"""GRPCInferenceService: the Open Inference Protocol over the served models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mlflow_grpc_server import __version__
from mlflow_grpc_server.convert import inference
from mlflow_grpc_server.convert.serving import served_name
from mlflow_grpc_server.exceptions import NotFoundError, ServingUnavailableError
from mlflow_grpc_server.health import Monitor
from mlflow_grpc_server.inference import open_inference_pb2 as pb
from mlflow_grpc_server.inference.open_inference_pb2_grpc import GRPCInferenceServiceServicer
from mlflow_grpc_server.services.context import Context
from mlflow_grpc_server.serving.engine import Engine
from mlflow_grpc_server.serving.spec import Spec

__all__ = ["InferenceServicer"]


class InferenceServicer(GRPCInferenceServiceServicer):
    """What clients of the protocol, which know nothing of MLflow, ask of served models."""

    def __init__(
        self, engine: Engine, monitor: Monitor, registered: Callable[[], Awaitable[list[str]]]
    ) -> None:
        self._engine = engine
        self._monitor = monitor
        self._registered = registered

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: Context
    ) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: Context
    ) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=not self._monitor.draining)

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: Context
    ) -> pb.ModelReadyResponse:
        try:
            served = await self._engine.get(served_name(request.name))
        except NotFoundError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=inference.is_ready(served, request.version))

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name="mlflow-grpc", version=__version__, extensions=["model_repository"]
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        name = served_name(request.name)
        served = await self._engine.get(name)
        if not inference.is_ready(served, request.version):
            raise ServingUnavailableError("MODEL_NOT_READY", f"The model {name!r} is not ready.")
        return inference.metadata(name, served, await self._engine.infos(name))

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        asked = inference.predict_request(request)
        answer = await self._engine.predict(
            asked.name, asked.SerializeToString(), request.model_version
        )
        return inference.infer_response(request, answer)

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        registered = [] if request.ready else await self._registered()
        return inference.index(await self._engine.list_all(), registered, ready=request.ready)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        before = await self._spec(served_name(request.model_name, "model_name"))
        await self._engine.deploy(inference.spec_to_load(request, before), wait=True)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        await self._engine.undeploy(served_name(request.model_name, "model_name"))
        return pb.RepositoryModelUnloadResponse()

    async def _spec(self, name: str) -> Spec | None:
        try:
            return (await self._engine.get(name)).spec
        except NotFoundError:
            return None
