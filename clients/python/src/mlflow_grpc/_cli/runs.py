"""`runs`: lists the runs of an experiment."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from mlflow_grpc._cli.output import (
    Output,
    add_view,
    number,
    one_line,
    room,
    short,
    when,
    when_shortly,
    width,
)
from mlflow_grpc._errors import NotFoundError
from mlflow_grpc._sync.client import Client

# As many as have room on a line that is no terminal's.
_MOST_METRICS = 8
# Between two columns.
_GAP = 2


def add(subcommands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the subcommand."""
    parser = subcommands.add_parser("runs", parents=[common], help="list the runs of an experiment")
    parser.add_argument("experiment", nargs="?", default="0", help="name or id (default: 0)")
    parser.add_argument("--filter", help='such as "metrics.loss < 0.1"')
    parser.add_argument("--order-by", action="append", help='such as "metrics.loss ASC"')
    add_view(parser, "runs")
    parser.add_argument("--max", type=int, default=50, help="how many (default: 50)")
    parser.set_defaults(run=_run)


def _run(client: Client, options: argparse.Namespace, output: Output) -> None:
    found = list(
        client.search_runs(
            _experiment_id(client, options.experiment),
            options.filter,
            options.view,
            order_by=options.order_by,
            max_results=options.max,
        )
    )
    if output.as_json:
        output.values(found)
        return
    every = sorted({key for run in found for key in run.data.metrics})
    named = ["run", "name", "status", "started"]
    start = when if room() is None else when_shortly
    rows = [
        [
            run.info.run_id,
            short(run.info.run_name),
            str(run.info.status),
            start(run.info.start_time),
        ]
        for run in found
    ]
    values = {
        key: [number(run.data.metrics[key]) if key in run.data.metrics else "" for run in found]
        for key in every
    }
    shown = _with_room(values, [named, *rows])
    output.table(
        [*named, *shown],
        [[*row, *(values[key][index] for key in shown)] for index, row in enumerate(rows)],
        folded=named.index("name"),
    )
    if len(every) > len(shown):
        print(f"{len(every) - len(shown)} more metrics are left out; --json shows them")


def _with_room(values: Mapping[str, Sequence[str]], before: Sequence[Sequence[str]]) -> list[str]:
    """The metrics that have room behind the columns `before` them."""
    most = room()
    if most is None:
        return list(values)[:_MOST_METRICS]
    widths = [max(width(one_line(cell)) for cell in cells) for cells in zip(*before, strict=True)]
    # A long name goes over several lines, of a sixth of the terminal if it has to.
    widths[1] = min(widths[1], most // 6)
    free = most - sum(widths) - _GAP * (len(widths) - 1)
    shown = []
    for key, numbers in values.items():
        needed = _GAP + max(width(one_line(key)), *map(len, numbers))
        if needed <= free:
            free -= needed
            shown.append(key)
    return shown


def _experiment_id(client: Client, name_or_id: str) -> str:
    found = client.get_experiment_by_name(name_or_id)
    if found is not None:
        return found.experiment_id
    if not name_or_id.isdigit():
        raise NotFoundError(grpc.StatusCode.NOT_FOUND, f"there is no experiment {name_or_id!r}")
    return client.get_experiment(name_or_id).experiment_id
