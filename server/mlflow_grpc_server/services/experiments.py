"""ExperimentService."""

from __future__ import annotations

from mlflow_grpc.v1 import experiment_service_pb2 as pb
from mlflow_grpc.v1.experiment_service_pb2_grpc import ExperimentServiceServicer
from mlflow_grpc_server.convert import experiments, fields, pages, runs
from mlflow_grpc_server.services.context import Context
from mlflow_grpc_server.tracking.pool import BlockingPool
from mlflow_grpc_server.tracking.tracking import Tracking

__all__ = ["ExperimentServicer"]


class ExperimentServicer(ExperimentServiceServicer):
    """Experiments, and the start and end of runs."""

    def __init__(self, tracking: Tracking, pool: BlockingPool) -> None:
        self._tracking = tracking
        self._pool = pool

    async def ListExperiments(
        self, request: pb.ListExperimentsRequest, context: Context
    ) -> pb.ListExperimentsResponse:
        query = experiments.list_query(request)
        view_type = pages.view_type(request.view_type)
        found = await self._pool.run(self._tracking.search_experiments, query, view_type)
        return pages.respond(
            pb.ListExperimentsResponse(),
            "experiments",
            map(experiments.experiment_to_proto, found),
            query.page,
            found.token,
        )

    async def CreateExperiment(
        self, request: pb.CreateExperimentRequest, context: Context
    ) -> pb.CreateExperimentResponse:
        wanted = experiments.experiment_to_create(request)
        experiment = await self._pool.run(self._tracking.create_experiment, wanted)
        return pb.CreateExperimentResponse(experiment=experiments.experiment_to_proto(experiment))

    async def GetExperiment(
        self, request: pb.GetExperimentRequest, context: Context
    ) -> pb.GetExperimentResponse:
        experiment_id = fields.experiment_id(request.experiment_id)
        experiment = await self._pool.run(self._tracking.get_experiment, experiment_id)
        return pb.GetExperimentResponse(experiment=experiments.experiment_to_proto(experiment))

    async def GetExperimentByName(
        self, request: pb.GetExperimentByNameRequest, context: Context
    ) -> pb.GetExperimentByNameResponse:
        name = experiments.experiment_name(request.name)
        experiment = await self._pool.run(self._tracking.get_experiment_by_name, name)
        return pb.GetExperimentByNameResponse(
            experiment=experiments.experiment_to_proto(experiment)
        )

    async def UpdateExperiment(
        self, request: pb.UpdateExperimentRequest, context: Context
    ) -> pb.UpdateExperimentResponse:
        experiment_id = fields.experiment_id(request.experiment_id)
        name, description = experiments.experiment_change(request)
        experiment = await self._pool.run(
            self._tracking.update_experiment, experiment_id, name, description
        )
        return pb.UpdateExperimentResponse(experiment=experiments.experiment_to_proto(experiment))

    async def DeleteExperiment(
        self, request: pb.DeleteExperimentRequest, context: Context
    ) -> pb.DeleteExperimentResponse:
        experiment_id = fields.experiment_id(request.experiment_id)
        await self._pool.run(self._tracking.delete_experiment, experiment_id)
        return pb.DeleteExperimentResponse()

    async def RestoreExperiment(
        self, request: pb.RestoreExperimentRequest, context: Context
    ) -> pb.RestoreExperimentResponse:
        experiment_id = fields.experiment_id(request.experiment_id)
        experiment = await self._pool.run(self._tracking.restore_experiment, experiment_id)
        return pb.RestoreExperimentResponse(experiment=experiments.experiment_to_proto(experiment))

    async def SetExperimentTag(
        self, request: pb.SetExperimentTagRequest, context: Context
    ) -> pb.SetExperimentTagResponse:
        experiment_id = fields.experiment_id(request.experiment_id)
        key, value = experiments.experiment_tag(request)
        await self._pool.run(self._tracking.set_experiment_tag, experiment_id, key, value)
        return pb.SetExperimentTagResponse()

    async def DeleteExperimentTag(
        self, request: pb.DeleteExperimentTagRequest, context: Context
    ) -> pb.DeleteExperimentTagResponse:
        experiment_id = fields.experiment_id(request.experiment_id)
        key = fields.key("key", request.key)
        await self._pool.run(self._tracking.delete_experiment_tag, experiment_id, key)
        return pb.DeleteExperimentTagResponse()

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        wanted = runs.run_to_start(request)
        run = await self._pool.run(self._tracking.start_run, wanted)
        return pb.StartRunResponse(run=runs.run_to_proto(run))

    async def EndRun(self, request: pb.EndRunRequest, context: Context) -> pb.EndRunResponse:
        run_id = fields.run_id(request.run_id)
        experiment_id = runs.experiment_of(request)
        status, end_time = runs.end_of_run(request)
        run = await self._pool.run(self._tracking.end_run, run_id, experiment_id, status, end_time)
        return pb.EndRunResponse(run=runs.run_to_proto(run))
