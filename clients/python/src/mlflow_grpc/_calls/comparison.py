"""The call of RunService that compares runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow_grpc import _convert as convert
from mlflow_grpc._calls.call import Call, Service
from mlflow_grpc._entities import ComparedMetric, ComparedText, Comparison, MetricSummary
from mlflow_grpc._enums import MetricGoal
from mlflow_grpc.v1 import comparison_pb2 as pb
from mlflow_grpc.v1 import run_service_pb2

_call = Service(run_service_pb2.DESCRIPTOR.services_by_name["RunService"])

_GOALS = {
    MetricGoal.MINIMIZE: pb.METRIC_GOAL_MINIMIZE,
    MetricGoal.MAXIMIZE: pb.METRIC_GOAL_MAXIMIZE,
}
_GOALS_OF_PROTO = {number: goal for goal, number in _GOALS.items()}


def compare_runs(
    run_ids: Sequence[str], goals: Mapping[str, MetricGoal | str] | None
) -> Call[Comparison]:
    numbers = {key: _GOALS[MetricGoal(goal)] for key, goal in (goals or {}).items()}
    return _call(
        pb.CompareRunsRequest(run_ids=run_ids, goals=numbers), pb.CompareRunsResponse, _comparison
    )


def _comparison(proto: pb.CompareRunsResponse) -> Comparison:
    return Comparison(
        runs=tuple(map(convert.run_info, proto.runs)),
        params=tuple(map(_text, proto.params)),
        tags=tuple(map(_text, proto.tags)),
        metrics=tuple(map(_metric, proto.metrics)),
    )


def _text(proto: pb.ComparedText) -> ComparedText:
    return ComparedText(proto.key, dict(proto.values), proto.agrees)


def _metric(proto: pb.ComparedMetric) -> ComparedMetric:
    return ComparedMetric(
        key=proto.key,
        summaries={run_id: _summary(one) for run_id, one in proto.summaries.items()},
        agrees=proto.agrees,
        goal=_GOALS_OF_PROTO.get(proto.goal),
        best_run_id=proto.best_run_id or None,
    )


def _summary(proto: pb.MetricSummary) -> MetricSummary:
    best = proto.best if proto.HasField("best") else None
    return MetricSummary(proto.last, proto.min, proto.max, best, proto.points)
