"""Parses the command line and runs a subcommand."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from mlflow_grpc._cli import watch
from mlflow_grpc._cli.output import Output
from mlflow_grpc._errors import MlflowGrpcError
from mlflow_grpc._sync.client import Client

__all__ = ["main"]

_ADDRESS = "127.0.0.1:50051"
_VARIABLE = "MLFLOW_GRPC_ADDRESS"
_COMMANDS = (watch,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 for a failure, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    try:
        with Client(options.address) as client:
            options.run(client, options, Output(as_json=options.json))
    except (MlflowGrpcError, OSError, ValueError) as error:
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mlflow_grpc", description="Ask a server of mlflow-grpc."
    )
    parser.add_argument(
        "--address",
        default=os.environ.get(_VARIABLE, _ADDRESS),
        help=f"host:port of the server (default: ${_VARIABLE}, else {_ADDRESS})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    subcommands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(subcommands)
    return parser
