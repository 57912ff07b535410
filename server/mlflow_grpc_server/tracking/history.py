"""The points of one metric, page by page. Every method blocks."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Protocol

from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.models import SqlMetric
from sqlalchemy import Engine, select, tuple_

from mlflow_grpc_server.convert.pages import Page
from mlflow_grpc_server.exceptions import InvalidFieldError
from mlflow_grpc_server.ingest.entries import MetricRow
from mlflow_grpc_server.tracking.refusals import not_found

__all__ = ["ClientHistory", "MetricHistory", "PointPage", "SqlHistory"]

_COLUMNS = (
    SqlMetric.key,
    SqlMetric.value,
    SqlMetric.timestamp,
    SqlMetric.step,
    SqlMetric.is_nan,
    SqlMetric.run_uuid,
)
# Behind run and key these are what makes a point; `step` comes first because an index has it.
_ORDER = (SqlMetric.step, SqlMetric.timestamp, SqlMetric.value, SqlMetric.is_nan)


@dataclass(frozen=True)
class PointPage:
    """Points, and the token of the page after them; None on the last one."""

    points: list[MetricRow]
    token: str | None


class MetricHistory(Protocol):
    """Reads the points of one metric of a run."""

    def read(self, run_id: str, key: str, page: Page) -> PointPage:
        """Return a page of points. Raises NotFoundError if there is no such run."""


class SqlHistory:
    """Reads a page by where the one before ended, so that the last costs what the first does."""

    def __init__(self, engine: Engine, client: MlflowClient) -> None:
        self._engine = engine
        self._client = client

    def read(self, run_id: str, key: str, page: Page) -> PointPage:
        """Return a page of points, by step, timestamp and value."""
        query = (
            select(*_COLUMNS)
            .where(SqlMetric.run_uuid == run_id, SqlMetric.key == key)
            .order_by(*_ORDER)
            .limit(page.limit + 1)
        )
        if page.store_token is not None:
            last = _last_point(page.store_token)
            # The first condition says nothing new but to the index.
            query = query.where(SqlMetric.step >= last[0], tuple_(*_ORDER) > tuple_(*last))
        with self._engine.connect() as connection:
            points: list[Any] = [tuple(row) for row in connection.execute(query)]
        if not points and page.store_token is None:
            with not_found("run", run_id):
                self._client.get_run(run_id)
        if len(points) <= page.limit:
            return PointPage(points, None)
        _, value, timestamp, step, is_nan, _ = points[page.limit - 1]
        return PointPage(points[: page.limit], json.dumps([step, timestamp, value, is_nan]))


def _last_point(token: str) -> tuple[int, int, float, bool]:
    try:
        step, timestamp, value, is_nan = json.loads(token)
        return int(step), int(timestamp), float(value), bool(is_nan)
    except (ValueError, TypeError) as error:
        raise InvalidFieldError("page_token", "is not a token of this server") from error


class ClientHistory:
    """Reads through MlflowClient's store, in its order: by timestamp, step and value."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def read(self, run_id: str, key: str, page: Page) -> PointPage:
        """Return a page of points, by timestamp, step and value."""
        found = self._client._tracking_client.store.get_metric_history(
            run_id, key, max_results=page.limit, page_token=page.store_token
        )
        if not found and page.store_token is None:
            with not_found("run", run_id):
                self._client.get_run(run_id)
        points: list[MetricRow] = [
            (
                *(metric.key, 0.0 if math.isnan(metric.value) else metric.value),
                *(metric.timestamp, metric.step, math.isnan(metric.value), run_id),
            )
            for metric in found
        ]
        return PointPage(points, found.token)
