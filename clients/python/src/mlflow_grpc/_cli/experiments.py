"""`experiments`: lists experiments."""

from __future__ import annotations

import argparse
from typing import Any

from mlflow_grpc._cli.output import Output, when
from mlflow_grpc._sync.client import Client


def add(subcommands: Any) -> None:
    """Adds the subcommand."""
    parser = subcommands.add_parser("experiments", help="list experiments")
    parser.add_argument("--filter", help="such as \"name LIKE 'vision%%'\"")
    parser.add_argument("--max", type=int, default=100, help="how many (default: 100)")
    parser.set_defaults(run=_run)


def _run(client: Client, options: argparse.Namespace, output: Output) -> None:
    found = list(client.search_experiments(filter_string=options.filter, max_results=options.max))
    if output.as_json:
        output.values(found)
        return
    output.table(
        ["id", "name", "stage", "created"],
        [[e.experiment_id, e.name, str(e.lifecycle_stage), when(e.creation_time)] for e in found],
    )
