"""`runs`: lists the runs of an experiment."""

from __future__ import annotations

import argparse
from typing import Any

import grpc

from mlflow_grpc._cli.output import Output, add_view, number, short, when
from mlflow_grpc._errors import NotFoundError
from mlflow_grpc._sync.client import Client

# As many as have room on a line.
_MOST_METRICS = 8


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
    metrics = every[:_MOST_METRICS]
    output.table(
        ["run", "name", "status", "started", *metrics],
        [
            [
                run.info.run_id,
                short(run.info.run_name),
                str(run.info.status),
                when(run.info.start_time),
                *(
                    number(run.data.metrics[key]) if key in run.data.metrics else ""
                    for key in metrics
                ),
            ]
            for run in found
        ],
    )
    if len(every) > len(metrics):
        print(f"{len(every) - len(metrics)} more metrics are left out; --json shows them")


def _experiment_id(client: Client, name_or_id: str) -> str:
    found = client.get_experiment_by_name(name_or_id)
    if found is not None:
        return found.experiment_id
    if not name_or_id.isdigit():
        raise NotFoundError(grpc.StatusCode.NOT_FOUND, f"there is no experiment {name_or_id!r}")
    return client.get_experiment(name_or_id).experiment_id
