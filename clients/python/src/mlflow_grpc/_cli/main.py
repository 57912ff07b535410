"""Parses the command line and runs a subcommand."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any, NoReturn

from mlflow_grpc._cli import artifacts, compare, experiments, runs, watch
from mlflow_grpc._cli.output import Output, one_line
from mlflow_grpc._errors import MlflowGrpcError
from mlflow_grpc._sync.client import Client

__all__ = ["main"]

_PROGRAM = "python -m mlflow_grpc"
_ADDRESS = "127.0.0.1:50051"
_VARIABLE = "MLFLOW_GRPC_ADDRESS"
_COMMANDS = (experiments, runs, compare, artifacts, watch)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 for a failure, 2 for a wrong command line."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names may have letters that the encoding of a terminal has not.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with Client(options.address) as client:
            options.run(client, options, Output(as_json=options.json))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has had enough. Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (MlflowGrpcError, OSError, ValueError) as error:
        print(f"{_PROGRAM}: {one_line(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """One that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)}; {self.prog} --help tells more\n")


def _parser() -> argparse.ArgumentParser:
    address = os.environ.get(_VARIABLE) or _ADDRESS
    parser = _Parser(
        prog=_PROGRAM,
        description="Ask a server of mlflow-grpc.",
        parents=[_common(address=address, json=False)],
    )
    parser.add_argument("--version", action="version", version=f"mlflow-grpc {_version()}")
    subcommands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    # Behind the command they are the same, and leave what was said before it as it is.
    common = _common(address=argparse.SUPPRESS, json=argparse.SUPPRESS)
    for command in _COMMANDS:
        command.add(subcommands, common)
    return parser


def _common(*, address: str, json: Any) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--address",
        default=address,
        metavar="HOST:PORT",
        help=f"the server (default: ${_VARIABLE}, else {_ADDRESS})",
    )
    common.add_argument(
        "--json", action="store_true", default=json, help="print JSON instead of tables"
    )
    return common


def _version() -> str:
    try:
        return metadata.version("mlflow-grpc")
    except metadata.PackageNotFoundError:
        return "(not installed)"
