"""Streamed metrics: this server beside MLflow's ways to log, and the database's own limit."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import grpc

from mlflow_grpc import StreamConfig
from mlflow_grpc.v1 import resources_pb2, run_service_pb2, run_service_pb2_grpc
from tests.benchmarks.crowd import Crowd, run_crowd
from tests.benchmarks.processes import grpc_process, rest_server
from tests.benchmarks.report import must, say
from tests.benchmarks.seeding import database_uri
from tests.benchmarks.writers import (
    Rate,
    count,
    in_process,
    new_run,
    raw_postgres,
    raw_sqlite,
    rest_metric,
    trainers,
)
from tests.postgres import PostgresCluster

__all__ = ["measure_streams"]

_MIB = 1024 * 1024
_LINGER = StreamConfig().linger
_MOST_CALL_US = 5.0
_MOST_ACK_SECONDS = 1.0
_MOST_GROWTH_MIB = 16


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: int
    bulk: int
    """Points of one round of the ways that are fast."""
    batch: int
    single: int
    crowd: Crowd


_FULL = Scale(3, 200_000, 20_000, 200, Crowd(1000, 10, 60, _LINGER))
_QUICK = Scale(1, 20_000, 2_000, 20, Crowd(50, 10, 3, _LINGER))


@dataclass
class _Rates:
    """Points a second, of each way in the order of the rounds."""

    taken: dict[str, list[float]] = field(default_factory=dict)

    def add(self, way: str, rate: Rate) -> None:
        self.taken.setdefault(way, []).append(rate.per_second)

    def of(self, way: str) -> float:
        return median(self.taken[way])

    def ratio(self, way: str, other: str) -> float:
        """The median of the ratios of the rounds."""
        return median(a / b for a, b in zip(self.taken[way], self.taken[other], strict=True))

    def table(self, base: str) -> str:
        """All ways, with their ratios to one."""
        lines = [f"| way | points/s | of {base} |", "|---|--:|--:|"]
        for way in self.taken:
            lines.append(f"| {way} | {self.of(way):,.0f} | {self.ratio(way, base):.2f} |")
        return "\n".join(lines)


RAW = "raw limit: hand-written inserts, 1,000 a transaction"
RAW_VALUES = "the same, 500 rows a statement, as this server does"
IN_PROCESS = "in-process `log_batch` of 1,000"
REST_BATCH = "REST `log_batch` of 1,000"
REST_METRIC = "REST `log_metric`"
ONE = "this, 1 trainer"
REPLAY = "this, 1 trainer, all of it a second time"
SIXTEEN = "this, 16 trainers"


def measure_streams(*, quick: bool) -> str:
    """Measure everything and return the tables, with what they must show."""
    scale = _QUICK if quick else _FULL
    return "\n\n".join([_sqlite(scale), _postgres(scale), _one_point(scale), _crowd(scale)])


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="benchmark-streams-") as name:
        yield Path(name)


def _this(address: str, uri: str, number: int, points: int, times: int) -> list[tuple[Rate, float]]:
    """Let trainers log their points, `times` times; a rate and the p50 of a call for each."""
    found = []
    with trainers(address, number, points, times) as ready:
        for _ in range(times):
            seconds, call_us = ready.log()
            stored = count(uri, ready.run_ids)
            if stored != number * points:
                raise RuntimeError(f"{stored} points are stored, not {number * points}")
            found.append((Rate(stored, seconds), call_us))
    return found


def _sqlite(scale: Scale) -> str:
    rates, calls = _Rates(), []
    with ExitStack() as stack:
        folders = [stack.enter_context(_folder()) for _ in range(4)]
        own, raw, near, behind = (database_uri(folder) for folder in folders)
        address, process = stack.enter_context(grpc_process(folders[0], own))
        url = stack.enter_context(rest_server(folders[3]))
        for _ in range(scale.rounds):
            say("measuring: SQLite")
            rates.add(RAW, raw_sqlite(raw, scale.bulk, rows_per_statement=1))
            rates.add(RAW_VALUES, raw_sqlite(raw, scale.bulk, rows_per_statement=500))
            rates.add(IN_PROCESS, in_process(near, scale.batch))
            rates.add(REST_BATCH, in_process(url, scale.batch, behind))
            rates.add(REST_METRIC, rest_metric(url, scale.single, behind))
            (first, call_us), (again, _) = _this(address, own, 1, scale.bulk, times=2)
            rates.add(ONE, first)
            rates.add(REPLAY, again)
            calls.append(call_us)
            ((sixteen, _),) = _this(address, own, 16, scale.bulk // 16, times=1)
            rates.add(SIXTEEN, sixteen)
        memory = _resident_mib(process)
    call_us = median(calls)
    return "\n".join(
        [
            "### SQLite\n",
            rates.table(RAW),
            f"\nA call of `run.log_metric` took {call_us:.2f} microseconds at p50; the server had "
            f"{memory:.0f} MiB in the end.\n",
            must("one trainer to in-process `log_batch`", 5, rates.ratio(ONE, IN_PROCESS)),
            must("one trainer to REST `log_batch`", 10, rates.ratio(ONE, REST_BATCH)),
            must("one trainer to REST `log_metric`", 300, rates.ratio(ONE, REST_METRIC)),
            must("one trainer to the raw limit", 0.5, rates.ratio(ONE, RAW)),
            must("points a second time to the first time", 0.8, rates.ratio(REPLAY, ONE)),
            _most("a call of `run.log_metric` at p50, microseconds", _MOST_CALL_US, call_us),
        ]
    )


def _postgres(scale: Scale) -> str:
    rates = _Rates()
    with ExitStack() as stack:
        cluster = stack.enter_context(PostgresCluster())
        cluster.start()
        folder = stack.enter_context(_folder())
        address, process = stack.enter_context(grpc_process(folder, cluster.uri))
        for _ in range(scale.rounds):
            say("measuring: PostgreSQL")
            rates.add(RAW, raw_postgres(cluster.uri, scale.bulk // 2))
            rates.add(IN_PROCESS, in_process(cluster.uri, scale.batch))
            (first, _), (again, _) = _this(address, cluster.uri, 1, scale.bulk // 2, times=2)
            rates.add(ONE, first)
            rates.add(REPLAY, again)
            ((sixteen, _),) = _this(address, cluster.uri, 16, scale.bulk // 32, times=1)
            rates.add(SIXTEEN, sixteen)
        memory = _resident_mib(process)
    return "\n".join(
        [
            "### PostgreSQL\n",
            rates.table(RAW),
            f"\nThe server had {memory:.0f} MiB in the end.\n",
            must("16 trainers to in-process `log_batch`", 3.5, rates.ratio(SIXTEEN, IN_PROCESS)),
            must("points a second time to the first time", 0.8, rates.ratio(REPLAY, ONE)),
        ]
    )


def _one_point(scale: Scale) -> str:
    """One point at a time: a unary call, a stream, and MLflow's REST server."""
    from mlflow import MlflowClient

    with ExitStack() as stack:
        own, behind = (stack.enter_context(_folder()) for _ in range(2))
        address, _ = stack.enter_context(grpc_process(own, database_uri(own)))
        url = stack.enter_context(rest_server(behind))
        channel = stack.enter_context(grpc.insecure_channel(address))
        stub = run_service_pb2_grpc.RunServiceStub(channel)
        run_id, theirs = new_run(database_uri(own)), new_run(url)
        client = MlflowClient(url)
        stream = _OnePointStream(stub, run_id)
        ways: dict[str, Callable[[int], object]] = {
            "this, `LogMetrics`": lambda step: stub.LogMetrics(
                run_service_pb2.LogMetricsRequest(run_id=run_id, metrics=[_point(step)])
            ),
            "this, `StreamMetrics` to its ack": stream.log,
            REST_METRIC: lambda step: client.log_metric(
                theirs, "loss", step / 7, step=step, synchronous=True
            ),
        }
        say("measuring: one point at a time")
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for step in range(scale.single + 10):
            for way, log in ways.items():
                started = time.perf_counter()
                log(step)
                if step >= 10:
                    taken[way].append((time.perf_counter() - started) * 1000)
        stream.close()
    lines = ["### One point at a time, SQLite\n", "| way | p50 ms | p99 ms |", "|---|--:|--:|"]
    for way, waits in taken.items():
        waits.sort()
        lines.append(f"| {way} | {median(waits):.2f} | {waits[len(waits) * 99 // 100]:.2f} |")
    faster = median(taken[REST_METRIC]) / median(taken["this, `LogMetrics`"])
    return "\n".join([*lines, "", must("REST `log_metric` to `LogMetrics`, p50", 2.5, faster)])


def _point(step: int) -> resources_pb2.Metric:
    now = time.time_ns() // 1_000_000
    return resources_pb2.Metric(key="loss", value=step / 7, timestamp_ms=now, step=step)


class _OnePointStream:
    """A stream that sends a point and waits for its ack."""

    def __init__(self, stub: run_service_pb2_grpc.RunServiceStub, run_id: str) -> None:
        import queue

        self._run_id = run_id
        self._messages: queue.SimpleQueue[run_service_pb2.StreamMetricsRequest | None] = (
            queue.SimpleQueue()
        )
        self._call = stub.StreamMetrics(iter(self._messages.get, None))
        next(self._call)

    def log(self, step: int) -> None:
        """Send one point and return when it is acknowledged."""
        self._messages.put(
            run_service_pb2.StreamMetricsRequest(
                sequence=step + 1, run_id=self._run_id, metrics=[_point(step)]
            )
        )
        if next(self._call).ack.sequence != step + 1:
            raise RuntimeError("not acknowledged")

    def close(self) -> None:
        """End the stream."""
        self._messages.put(None)
        list(self._call)


def _crowd(scale: Scale) -> str:
    crowd = scale.crowd
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        uri = database_uri(folder)
        address, process = stack.enter_context(grpc_process(folder, uri))
        say("measuring: a crowd of trainers")
        with _sampled(process) as memory:
            held = run_crowd(address, crowd)
        # The first third of the time, connecting included, makes the server as large as it gets.
        before, after = memory[len(memory) // 3], memory[-1]
        stored = count(uri, held.run_ids[:500]) + count(uri, held.run_ids[500:])
        if stored != held.points:
            raise RuntimeError(f"{stored} points are stored, not {held.points}")
    rate = crowd.runs * crowd.points_per_second
    return "\n".join(
        [
            f"### {crowd.runs:,} runs on a connection each, {crowd.points_per_second} points/s "
            f"each, for {crowd.seconds:g} s, SQLite\n",
            f"{held.points:,} points were stored, {rate:,} a second; the last message was sent "
            f"{held.behind:.2f} s late. From the moment a point was logged, the up to "
            f"{crowd.linger:g} s included for which a trainer gathers points, to its ack: p50 "
            f"{held.p50:.2f} s, p99 {held.p99:.2f} s. The server had {before:.0f} MiB after a "
            f"third of the time and {after:.0f} MiB in the end.\n",
            _most("ack p99, seconds", _MOST_ACK_SECONDS, held.p99),
            _most("growth of the server, MiB", _MOST_GROWTH_MIB, after - before),
        ]
    )


@contextmanager
def _sampled(process: int) -> Iterator[list[float]]:
    """The memory of a process in MiB, twice a second."""
    memory: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.5):
            memory.append(_resident_mib(process))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield memory
    finally:
        done.set()
        sampler.join()


def _most(what: str, most: float, reached: float) -> str:
    verdict = "met" if reached < most else "NOT met"
    return f"- must: {what}, under {most:g}: {reached:.2f}, {verdict}"


def _resident_mib(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB
