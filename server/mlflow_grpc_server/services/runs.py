"""RunService."""

from __future__ import annotations

from mlflow_grpc.v1 import run_service_pb2 as pb
from mlflow_grpc_server.convert import fields, pages, runs
from mlflow_grpc_server.ingest.pipeline import Ingest
from mlflow_grpc_server.services.context import Context
from mlflow_grpc_server.services.streams import StreamMethods
from mlflow_grpc_server.tracking.history import MetricHistory
from mlflow_grpc_server.tracking.pool import BlockingPool
from mlflow_grpc_server.tracking.tracking import Tracking
from mlflow_grpc_server.tracking.watch import Watcher

__all__ = ["RunServicer"]


class RunServicer(StreamMethods):
    """What runs log, and how they are found again."""

    def __init__(
        self,
        tracking: Tracking,
        history: MetricHistory,
        pool: BlockingPool,
        ingest: Ingest,
        watcher: Watcher,
    ) -> None:
        super().__init__(ingest, watcher)
        self._tracking = tracking
        self._history = history
        self._pool = pool

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        run_id = fields.run_id(request.run_id)
        run = await self._pool.run(self._tracking.get_run, run_id)
        return pb.GetRunResponse(run=runs.run_to_proto(run))

    async def SearchRuns(
        self, request: pb.SearchRunsRequest, context: Context
    ) -> pb.SearchRunsResponse:
        experiment_ids, query = runs.search_query(request)
        view_type = pages.view_type(request.view_type)
        found = await self._pool.run(self._tracking.search_runs, experiment_ids, query, view_type)
        return pages.respond(
            pb.SearchRunsResponse(), "runs", map(runs.run_to_proto, found), query.page, found.token
        )

    async def LogParams(
        self, request: pb.LogParamsRequest, context: Context
    ) -> pb.LogParamsResponse:
        batch = runs.batch(request.run_id, params=request.params, required="params")
        await self._ingest.log(batch, request.ByteSize())
        return pb.LogParamsResponse()

    async def LogMetrics(
        self, request: pb.LogMetricsRequest, context: Context
    ) -> pb.LogMetricsResponse:
        batch = runs.batch(request.run_id, request.metrics)
        await self._ingest.log(batch, request.ByteSize())
        return pb.LogMetricsResponse()

    async def LogBatch(self, request: pb.LogBatchRequest, context: Context) -> pb.LogBatchResponse:
        batch = runs.batch(request.run_id, request.metrics, request.params, request.tags)
        await self._ingest.log(batch, request.ByteSize())
        return pb.LogBatchResponse()

    async def LogInputs(
        self, request: pb.LogInputsRequest, context: Context
    ) -> pb.LogInputsResponse:
        run_id = fields.run_id(request.run_id)
        datasets, models = runs.inputs(request)
        await self._pool.run(self._tracking.log_inputs, run_id, datasets, models)
        return pb.LogInputsResponse()

    async def GetMetricHistory(
        self, request: pb.GetMetricHistoryRequest, context: Context
    ) -> pb.GetMetricHistoryResponse:
        run_id = fields.run_id(request.run_id)
        key = fields.key("metric_key", request.metric_key)
        page = pages.page_of(request, default=1000, maximum=25_000)
        found = await self._pool.run(self._history.read, run_id, key, page)
        return pages.respond(
            pb.GetMetricHistoryResponse(),
            "metrics",
            map(runs.row_to_proto, found.points),
            page,
            found.token,
        )

    async def SetTags(self, request: pb.SetTagsRequest, context: Context) -> pb.SetTagsResponse:
        batch = runs.batch(request.run_id, tags=request.tags, required="tags")
        await self._ingest.log(batch, request.ByteSize())
        return pb.SetTagsResponse()

    async def DeleteTag(
        self, request: pb.DeleteTagRequest, context: Context
    ) -> pb.DeleteTagResponse:
        run_id = fields.run_id(request.run_id)
        key = fields.key("key", request.key)
        await self._pool.run(self._tracking.delete_tag, run_id, key)
        return pb.DeleteTagResponse()

    async def UpdateRun(
        self, request: pb.UpdateRunRequest, context: Context
    ) -> pb.UpdateRunResponse:
        run_id = fields.run_id(request.run_id)
        change = runs.run_change(request)
        run = await self._pool.run(self._tracking.update_run, run_id, change)
        return pb.UpdateRunResponse(run=runs.run_to_proto(run))

    async def DeleteRun(
        self, request: pb.DeleteRunRequest, context: Context
    ) -> pb.DeleteRunResponse:
        run_id = fields.run_id(request.run_id)
        await self._pool.run(self._tracking.delete_run, run_id)
        return pb.DeleteRunResponse()

    async def RestoreRun(
        self, request: pb.RestoreRunRequest, context: Context
    ) -> pb.RestoreRunResponse:
        run_id = fields.run_id(request.run_id)
        run = await self._pool.run(self._tracking.restore_run, run_id)
        return pb.RestoreRunResponse(run=runs.run_to_proto(run))
