"""Runs side by side."""

# Made from _sync/comparison.py by tests/unit/client/twins.py; do not edit.

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow_grpc._aio.base import AsyncCaller
from mlflow_grpc._calls import comparison as calls
from mlflow_grpc._entities import Comparison
from mlflow_grpc._enums import MetricGoal


class AsyncComparisonMethods(AsyncCaller):
    """The method that compares runs."""

    async def compare_runs(
        self,
        run_ids: Sequence[str],
        goals: Mapping[str, MetricGoal | str] | None = None,
        *,
        timeout: float | None = None,
    ) -> Comparison:
        """Puts 2 to 100 runs side by side: params, tags and metrics.

        `goals` says by key which values of a metric are better; without it, words such as
        `loss` or `accuracy` in the key decide. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such run, `ValueError` for a goal that does not
        exist.
        """
        return await self._call(calls.compare_runs(run_ids, goals), timeout)
