"""Runs side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow.entities import Run

from mlflow_grpc.v1 import comparison_pb2 as pb
from mlflow_grpc_server.convert import fields
from mlflow_grpc_server.convert.runs import run_to_proto
from mlflow_grpc_server.exceptions import InvalidFieldError
from mlflow_grpc_server.tracking.comparison import Extent

__all__ = ["RunsToCompare", "compare", "runs_to_compare"]

_MOST_RUNS = 100
_OWN_TAGS = "mlflow."
# Those of them that tell what made a run.
_MAKERS = {
    "mlflow.user",
    "mlflow.source.name",
    "mlflow.source.type",
    "mlflow.source.git.commit",
    "mlflow.source.git.branch",
    "mlflow.source.git.dirty",
    "mlflow.source.git.repoURL",
}

_SMALL = re.compile(r"loss|err(or)?|(rm|m|ma|msl|rmsl)se|mae|mape|perplexity|divergence|brier")
_LARGE = re.compile(
    r"acc(uracy)?|f1|auc|auroc|auprc|r2|precision|recall|score|reward|bleu|rouge|iou|map|ndcg"
)


@dataclass(frozen=True)
class RunsToCompare:
    """A checked CompareRunsRequest."""

    run_ids: tuple[str, ...]
    goals: Mapping[str, int]


def runs_to_compare(request: pb.CompareRunsRequest) -> RunsToCompare:
    """Check a CompareRunsRequest."""
    run_ids = tuple(
        fields.run_id(run_id, f"run_ids[{index}]") for index, run_id in enumerate(request.run_ids)
    )
    if len(run_ids) < 2:
        raise InvalidFieldError("run_ids", "must name at least 2 runs")
    fields.at_most("run_ids", run_ids, _MOST_RUNS)
    for index, run_id in enumerate(run_ids):
        if run_id in run_ids[:index]:
            raise InvalidFieldError(f"run_ids[{index}]", "names a run a second time")
    for key, goal in request.goals.items():
        if goal not in pb.MetricGoal.values():
            raise InvalidFieldError("goals", f"{goal} of {fields.shown(key)} is not a goal")
    return RunsToCompare(run_ids, dict(request.goals))


def compare(
    runs: Sequence[Run], extents: Mapping[tuple[str, str], Extent], goals: Mapping[str, int]
) -> pb.CompareRunsResponse:
    """Return runs side by side."""
    tags = {
        run.info.run_id: {
            key: value or ""
            for key, value in run.data.tags.items()
            if key in _MAKERS or not key.startswith(_OWN_TAGS)
        }
        for run in runs
    }
    params = {run.info.run_id: run.data.params for run in runs}
    keys = sorted({key for run in runs for key in run.data.metrics})
    return pb.CompareRunsResponse(
        runs=[run_to_proto(run).info for run in runs],
        params=_texts(params),
        tags=_texts(tags),
        metrics=[_metric(key, runs, extents, _goal(key, goals)) for key in keys],
    )


def _texts(by_run: Mapping[str, Mapping[str, str]]) -> list[pb.ComparedText]:
    compared = []
    for key in sorted({key for texts in by_run.values() for key in texts}):
        values = {run_id: texts[key] for run_id, texts in by_run.items() if key in texts}
        agrees = len(values) == len(by_run) and len(set(values.values())) == 1
        compared.append(pb.ComparedText(key=key, values=values, agrees=agrees))
    return compared


def _metric(
    key: str,
    runs: Sequence[Run],
    extents: Mapping[tuple[str, str], Extent],
    goal: pb.MetricGoal.ValueType,
) -> pb.ComparedMetric:
    summaries = {
        run.info.run_id: _summary(run, key, extents, goal)
        for run in runs
        if key in run.data.metrics
    }
    lasts = [summary.last for summary in summaries.values()]
    bests = {
        run_id: summary.best
        for run_id, summary in summaries.items()
        if summary.HasField("best") and not math.isnan(summary.best)
    }
    pick = min if goal == pb.METRIC_GOAL_MINIMIZE else max
    return pb.ComparedMetric(
        key=key,
        summaries=summaries,
        agrees=len(lasts) == len(runs) and all(_same(lasts[0], last) for last in lasts),
        goal=goal,
        best_run_id=pick(bests, key=bests.__getitem__) if bests else "",
    )


def _summary(
    run: Run,
    key: str,
    extents: Mapping[tuple[str, str], Extent],
    goal: pb.MetricGoal.ValueType,
) -> pb.MetricSummary:
    last = run.data.metrics[key]
    extent = extents.get((run.info.run_id, key), Extent(last, last, 1))
    best = {
        pb.METRIC_GOAL_MINIMIZE: extent.smallest,
        pb.METRIC_GOAL_MAXIMIZE: extent.largest,
    }.get(goal)
    return pb.MetricSummary(
        last=last, min=extent.smallest, max=extent.largest, best=best, points=extent.points
    )


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _goal(key: str, goals: Mapping[str, int]) -> pb.MetricGoal.ValueType:
    given = goals.get(key, pb.METRIC_GOAL_UNSPECIFIED)
    if given:
        return pb.MetricGoal.ValueType(given)
    words = [word for word in re.split(r"[^a-z0-9]+", key.lower()) if word]
    if any(_SMALL.fullmatch(word) for word in words):
        return pb.METRIC_GOAL_MINIMIZE
    if any(_LARGE.fullmatch(word) for word in words):
        return pb.METRIC_GOAL_MAXIMIZE
    return pb.METRIC_GOAL_UNSPECIFIED
