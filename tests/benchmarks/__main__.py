"""The command `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc

from tests.benchmarks import serving
from tests.benchmarks.backends import PAGE, Backend, GrpcBackend, MlflowBackend
from tests.benchmarks.measure import Operation, Plan, measure
from tests.benchmarks.processes import grpc_server, rest_server
from tests.benchmarks.report import Row, machine, musts, table
from tests.benchmarks.seeding import database_uri, seed

_REQUIRED = ("create run", "get run", "log one metric")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the three and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="few runs and calls: shows that it works, no more"
    )
    parser.add_argument("--serving", action="store_true", help="measure serving alone")
    parsed = parser.parse_args(arguments)
    quick = parsed.quick
    # Before anything imports MLflow, which reads them then.
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "_MLFLOW_"))]:
        del os.environ[name]
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    logging.getLogger("alembic").setLevel(logging.WARNING)

    runs = PAGE if quick else 1000
    load_before = os.getloadavg()[0]
    parts = []
    if not parsed.serving:
        with ExitStack() as stack:
            rows = _rows(_backends(stack, runs), _operations(runs, quick=quick))
        parts += [table(rows), musts(rows)]
    _say("measuring: serving")
    with tempfile.TemporaryDirectory(prefix="benchmark-serving-") as folder:
        parts.append(serving.report(Path(folder), quick=quick))
    print(*parts, machine(load_before), sep="\n\n")


def _backends(stack: ExitStack, runs: int) -> list[Backend]:
    """The three, each over its own database: this server, MLflow's server, in-process."""
    folders, seeds = [], []
    for kind in ("this", "rest", "in-process"):
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"benchmark-{kind}-"))
        _say(f"filling the database of {kind}: {runs} runs, {PAGE} model versions")
        folders.append(Path(folder))
        seeds.append(seed(Path(folder), runs=runs, versions=PAGE))
    _say("starting the servers")
    address = stack.enter_context(grpc_server(folders[0]))
    channel = stack.enter_context(grpc.insecure_channel(address))
    url = stack.enter_context(rest_server(folders[1]))
    return [
        GrpcBackend(channel, seeds[0]),
        MlflowBackend(url, seeds[1]),
        MlflowBackend(database_uri(folders[2]), seeds[2]),
    ]


def _operations(runs: int, *, quick: bool) -> list[Operation]:
    """What is measured. Searches come first: creating runs adds to what they search."""
    cheap = Plan(warm_up=3, rounds=4, calls=5) if quick else Plan(warm_up=10, rounds=20, calls=10)
    heavy = Plan(warm_up=1, rounds=3, calls=1) if quick else Plan(warm_up=10, rounds=10, calls=2)
    search = f"search {PAGE} of {runs:,} runs"
    versions = f"list {PAGE} model versions"
    return [
        Operation(search, lambda backend: backend.search_runs(), heavy, expected=PAGE),
        Operation(versions, lambda backend: backend.list_versions(), heavy, expected=PAGE),
        Operation("get run", lambda backend: backend.get_run(), cheap),
        Operation("log one metric", lambda backend: backend.log_metric(), cheap),
        Operation("create run", lambda backend: backend.create_run(), cheap),
    ]


def _rows(backends: Sequence[Backend], operations: Sequence[Operation]) -> list[Row]:
    rows = []
    for operation in operations:
        _say(f"measuring: {operation.name}")
        this, rest, in_process = measure(operation, backends)
        required = operation.name in _REQUIRED
        rows.append(Row(operation.name, this, rest, in_process, required))
    return rows


def _say(text: str) -> None:
    """Progress, apart from the report."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
