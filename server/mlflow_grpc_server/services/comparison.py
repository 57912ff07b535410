"""The method of RunService that compares runs."""

from __future__ import annotations

from mlflow_grpc.v1 import comparison_pb2 as pb
from mlflow_grpc_server.convert import comparison
from mlflow_grpc_server.services.context import Context
from mlflow_grpc_server.tracking.comparison import summaries
from mlflow_grpc_server.tracking.pool import BlockingPool
from mlflow_grpc_server.tracking.tracking import Tracking

__all__ = ["ComparisonMethods"]


class ComparisonMethods:
    """Runs side by side. A part of RunServicer."""

    _pool: BlockingPool
    _tracking: Tracking

    async def CompareRuns(
        self, request: pb.CompareRunsRequest, context: Context
    ) -> pb.CompareRunsResponse:
        wanted = comparison.runs_to_compare(request)
        runs, found = await self._pool.run(summaries, self._tracking, wanted.run_ids)
        return comparison.compare(runs, found, wanted.goals)
