"""Datasets of runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mlflow_grpc._aio.base import AsyncCaller
from mlflow_grpc._calls import runs as calls
from mlflow_grpc._datasets import dataset_input
from mlflow_grpc._entities import Dataset


class AsyncDatasetMethods(AsyncCaller):
    """The method that describes data."""

    async def log_dataset(
        self,
        run_id: str,
        data: Any,
        context: str | None = None,
        *,
        name: str | None = None,
        source: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Dataset:
        """Logs that a run uses data, which is described and not stored.

        `data` is a `Dataset`, one of `mlflow.data`, a pandas data frame, a numpy array, or the
        path of a file; `context` is its role, such as `training`. `source` says where it is from,
        as a URI or path. Returns the description. `timeout` is in seconds.

        Raises `NotFoundError` if there is no such run, `FailedPreconditionError` if it is
        deleted, `TypeError` for what is no data.
        """
        # Hashes data, reads files and asks git.
        described = await asyncio.to_thread(dataset_input, data, context, name, source, tags or {})
        await self._call(calls.log_inputs(run_id, [described], []), timeout)
        return described.dataset
