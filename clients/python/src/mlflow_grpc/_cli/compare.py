"""`compare`: puts runs side by side."""

from __future__ import annotations

import argparse
from typing import Any

from mlflow_grpc._cli.output import Output, number, short, told_apart
from mlflow_grpc._entities import ComparedMetric, ComparedText, Comparison
from mlflow_grpc._sync.client import Client


def add(subcommands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the subcommand."""
    parser = subcommands.add_parser("compare", parents=[common], help="put runs side by side")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="2 to 100 run ids")
    parser.add_argument("--all", action="store_true", help="also what agrees")
    parser.add_argument(
        "--goal",
        action="append",
        default=[],
        metavar="METRIC=minimize|maximize",
        help="which values of a metric are better, where its name does not tell",
    )
    parser.set_defaults(run=_run)


def _run(client: Client, options: argparse.Namespace, output: Output) -> None:
    goals = {}
    for goal in options.goal:
        key, _, value = goal.rpartition("=")
        if not key or value.lower() not in ("minimize", "maximize"):
            raise ValueError(f"--goal {goal} is not of the form METRIC=minimize|maximize")
        goals[key] = value
    comparison = client.compare_runs(options.runs, goals)
    if unknown := goals.keys() - {metric.key for metric in comparison.metrics}:
        raise ValueError(f"--goal: no run has a metric {min(unknown)!r}")
    if output.as_json:
        output.values(comparison)
        return
    columns = [f"{short(info.run_name)} {info.run_id[:8]}" for info in comparison.runs]
    for title, rows in (
        ("Params", _texts(comparison, comparison.params, every=options.all)),
        ("Tags", _texts(comparison, comparison.tags, every=options.all)),
        ("Metrics", _metrics(comparison, every=options.all)),
    ):
        if rows:
            output.table(["", *columns], rows, title)
    agree = [one.agrees for one in (*comparison.params, *comparison.tags)]
    agree += [metric.agrees for metric in comparison.metrics]
    if not options.all and (hidden := sum(agree)):
        print(f"{hidden} agree and are left out; --all shows them")


def _texts(
    comparison: Comparison, texts: tuple[ComparedText, ...], *, every: bool
) -> list[list[str]]:
    rows = []
    for text in texts:
        if every or not text.agrees:
            shown = told_apart(text.values.values())
            values = (text.values.get(info.run_id) for info in comparison.runs)
            rows.append([text.key, *("-" if one is None else shown[one] for one in values)])
    return rows


def _metrics(comparison: Comparison, *, every: bool) -> list[list[str]]:
    rows = []
    for metric in comparison.metrics:
        if every or not metric.agrees:
            for name in ("last", "min", "max", "best"):
                if name != "best" or metric.goal is not None:
                    rows.append(_row(comparison, metric, name))
    return rows


def _row(comparison: Comparison, metric: ComparedMetric, name: str) -> list[str]:
    cells = [f"{metric.key} {name}"]
    for info in comparison.runs:
        summary = metric.summaries.get(info.run_id)
        value = None if summary is None else getattr(summary, name)
        mark = " *" if name == "best" and info.run_id == metric.best_run_id else ""
        cells.append("-" if value is None else number(value) + mark)
    return cells
