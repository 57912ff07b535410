"""`experiments`: lists experiments."""

from __future__ import annotations

import argparse
from typing import Any

from mlflow_grpc._cli.output import Output, add_view, when
from mlflow_grpc._sync.client import Client


def add(subcommands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the subcommand."""
    parser = subcommands.add_parser("experiments", parents=[common], help="list experiments")
    parser.add_argument("--filter", help="such as \"name LIKE 'vision%%'\"")
    add_view(parser, "experiments")
    parser.add_argument("--max", type=int, default=100, help="how many (default: 100)")
    parser.set_defaults(run=_run)


def _run(client: Client, options: argparse.Namespace, output: Output) -> None:
    found = list(client.search_experiments(options.view, options.max, options.filter))
    if output.as_json:
        output.values(found)
        return
    output.table(
        ["id", "name", "stage", "created"],
        [[e.experiment_id, e.name, str(e.lifecycle_stage), when(e.creation_time)] for e in found],
    )
