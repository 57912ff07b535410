"""Single calls: this server, MLflow's REST server and the in-process client."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc

from tests.benchmarks.backends import PAGE, Backend, GrpcBackend, MlflowBackend
from tests.benchmarks.measure import Operation, Plan, measure
from tests.benchmarks.processes import grpc_server, rest_server
from tests.benchmarks.report import Row, musts, say, table
from tests.benchmarks.seeding import database_uri, seed

__all__ = ["measure_calls"]

_REQUIRED = ("create run", "get run", "log one metric")


def measure_calls(*, quick: bool) -> str:
    """Measure the three and return the table, with what it must show."""
    runs = PAGE if quick else 1000
    with ExitStack() as stack:
        rows = _rows(_backends(stack, runs), _operations(runs, quick=quick))
    return f"{table(rows)}\n\n{musts(rows)}"


def _backends(stack: ExitStack, runs: int) -> list[Backend]:
    """The three, each over its own database: this server, MLflow's server, in-process."""
    folders, seeds = [], []
    for kind in ("this", "rest", "in-process"):
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"benchmark-{kind}-"))
        say(f"filling the database of {kind}: {runs} runs, {PAGE} model versions")
        folders.append(Path(folder))
        seeds.append(seed(Path(folder), runs=runs, versions=PAGE))
    say("starting the servers")
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
        say(f"measuring: {operation.name}")
        this, rest, in_process = measure(operation, backends)
        required = operation.name in _REQUIRED
        rows.append(Row(operation.name, this, rest, in_process, required))
    return rows
