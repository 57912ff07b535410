"""How far the metrics of runs went. Blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy
from mlflow.entities import Metric, Run
from mlflow.store.tracking.dbmodels.models import SqlMetric

from mlflow_grpc_server.tracking.tracking import Tracking

__all__ = ["Extent", "summaries"]


@dataclass(frozen=True)
class Extent:
    """The smallest and the largest value of a metric, NaN if there is none, and its points."""

    smallest: float
    largest: float
    points: int


Extents = Mapping[tuple[str, str], Extent]


def summaries(tracking: Tracking, run_ids: Sequence[str]) -> tuple[list[Run], Extents]:
    """Return the runs, and the extent of each metric by run id and key.

    Raises NotFoundError if there is no such run.
    """
    runs = [tracking.get_run(run_id) for run_id in run_ids]
    engine = tracking.engine
    if engine is not None:
        return runs, _from_database(engine, run_ids)
    return runs, {
        (run.info.run_id, key): _extent(tracking.all_points(run.info.run_id, key))
        for run in runs
        for key in run.data.metrics
    }


def _from_database(engine: sqlalchemy.Engine, run_ids: Sequence[str]) -> Extents:
    number = sqlalchemy.case((SqlMetric.is_nan.is_(False), SqlMetric.value))
    query = (
        sqlalchemy.select(
            SqlMetric.run_uuid,
            SqlMetric.key,
            sqlalchemy.func.min(number),
            sqlalchemy.func.max(number),
            sqlalchemy.func.count(),
        )
        .where(SqlMetric.run_uuid.in_(run_ids))
        .group_by(SqlMetric.run_uuid, SqlMetric.key)
    )
    with engine.connect() as connection:
        return {
            (run_id, key): Extent(_value(smallest), _value(largest), points)
            for run_id, key, smallest, largest, points in connection.execute(query)
        }


def _value(stored: float | None) -> float:
    return math.nan if stored is None else float(stored)


def _extent(points: Sequence[Metric]) -> Extent:
    numbers = [point.value for point in points if not math.isnan(point.value)]
    return Extent(min(numbers, default=math.nan), max(numbers, default=math.nan), len(points))
