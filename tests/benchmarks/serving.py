"""Serving: this server and `mlflow models serve`, the same model and the same inputs."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from tests.benchmarks.processes import grpc_server, models_server

__all__ = ["measure_serving"]

_TREES = 40
_REPLICAS = 2
_CALLERS = 32
_ROWS = 10_000
_MEMORY_CALLS = 10_000
_NAME = "forest"


@dataclass(frozen=True)
class _Line:
    """A line of the table: what was read, and the ratio that is required, if any."""

    what: str
    this: str
    mlflow: str
    ratio: str
    required: str
    holds: bool | None


def measure_serving(*, quick: bool) -> str:
    """Measure, and return the table and what was required of it."""
    with tempfile.TemporaryDirectory(prefix="benchmark-serving-") as folder:
        lines = _measure(Path(folder), quick=quick)
    rows = [
        "| serving a random forest | this | `mlflow models serve` | ratio | required |",
        "|---|--:|--:|--:|--:|",
        *(
            f"| {one.what} | {one.this} | {one.mlflow} | {one.ratio} | {one.required} |"
            for one in lines
        ),
    ]
    missed = [one.what for one in lines if one.holds is False]
    verdict = f"serving, missed: {'; '.join(missed)}" if missed else "serving, required: all hold"
    return "\n".join([*rows, "", verdict])


def _measure(folder: Path, *, quick: bool) -> list[_Line]:
    one_row_calls, table_calls = (20, 3) if quick else (400, 40)
    seconds, rounds, memory_calls = (1.0, 1, 200) if quick else (3.0, 3, _MEMORY_CALLS)
    with ExitStack() as stack:
        address = stack.enter_context(grpc_server(folder))
        inputs, place = _log_model(folder)
        this = stack.enter_context(_This(address, inputs))
        url = stack.enter_context(models_server(folder, place, workers=_REPLICAS))
        mlflow = _Mlflow(url, inputs)
        one = _by_turns(
            [this.one_as_tensors, this.one_as_json, mlflow.one], one_row_calls, rounds=5
        )
        table = _by_turns([this.table, mlflow.table], table_calls, rounds=2)
        rates = _rates_by_turns([this.rate, mlflow.rate], seconds, rounds)
        this.deploy(max_batch_calls=1)
        alone = _rates_by_turns([this.rate, mlflow.rate], seconds, rounds)
        this.deploy()
        grown = this.growth(memory_calls)
    return [
        _ratio("one row, as a tensor, p50 ms", one[0], one[2], most=0.7),
        _ratio("one row, as JSON, p50 ms", one[1], one[2], most=0.7),
        _ratio(f"{_ROWS:,} rows x 4, as tensors, p50 ms", table[0], table[1], most=0.2),
        _ratio(f"{_CALLERS} callers, one row each, calls/s", rates[0], rates[1], least=2.0),
        _ratio("the same, each call made alone", alone[0], alone[1]),
        _Line(
            f"the server grows over {memory_calls:,} predictions, MiB",
            f"{grown:.1f}",
            "",
            "",
            "below 50",
            grown < 50,
        ),
    ]


def _ratio(
    what: str, this: float, mlflow: float, most: float | None = None, least: float | None = None
) -> _Line:
    ratio = this / mlflow
    holds, required = None, ""
    if most is not None:
        holds, required = ratio <= most, f"at most {most}"
    elif least is not None:
        holds, required = ratio >= least, f"at least {least}"
    return _Line(what, f"{this:.2f}", f"{mlflow:.2f}", f"{ratio:.2f}", required, holds)


def _by_turns(calls: list[Callable[[], None]], count: int, rounds: int) -> list[float]:
    """The median of each, in milliseconds, measured by turns so that drift hits all alike."""
    samples: list[list[float]] = [[] for _ in calls]
    for call in calls:
        for _ in range(5):
            call()
    for _ in range(rounds):
        for taken, call in zip(samples, calls, strict=True):
            for _ in range(max(1, count // rounds)):
                start = time.perf_counter_ns()
                call()
                taken.append((time.perf_counter_ns() - start) / 1e6)
    return [statistics.median(taken) for taken in samples]


def _rates_by_turns(
    calls: list[Callable[[float], Awaitable[float]]], seconds: float, rounds: int
) -> list[float]:
    """The median rate of each, measured by turns so that drift hits all alike."""
    taken = [[asyncio.run(_rate(call, seconds)) for call in calls] for _ in range(rounds)]
    return [statistics.median(rates) for rates in zip(*taken, strict=True)]


async def _rate(call: Callable[[float], Awaitable[float]], seconds: float) -> float:
    return await call(seconds)


def _log_model(folder: Path) -> tuple[Any, Path]:
    """Log and register the model with MLflow; returns its inputs and where it is."""
    from tests.benchmarks.seeding import database_uri
    from tests.integration.serving.models import Log, train_forest

    Log(database_uri(folder), folder / "artifacts").forest(_NAME, columns=False, trees=_TREES)
    (place,) = (folder / "artifacts").rglob("MLmodel")
    import numpy as np

    _, data = train_forest(1, columns=False)
    return np.resize(data, (_ROWS, 4)), place.parent


class _This:
    """This server, called through the generated stubs."""

    def __init__(self, address: str, inputs: Any) -> None:
        from mlflow_grpc.v1 import model_serving_service_pb2 as pb
        from mlflow_grpc.v1.model_serving_service_pb2_grpc import ModelServingServiceStub

        self._pb, self._stub_of, self._address = pb, ModelServingServiceStub, address
        self._channel = grpc.insecure_channel(address)
        self._stub = ModelServingServiceStub(self._channel)
        self._one = self._tensors(inputs[:1])
        self._table = self._tensors(inputs)
        self._json = pb.PredictRequest(name=_NAME)
        self._json.json.update({"inputs": inputs[:1].tolist()})

    def __enter__(self) -> _This:
        self.deploy()
        return self

    def deploy(self, **options: int) -> None:
        uri = f"models:/{_NAME}/1"
        request = self._pb.DeployModelRequest(
            name=_NAME, model_uri=uri, replicas=_REPLICAS, wait_until_ready=True, **options
        )
        self._stub.DeployModel(request, timeout=90)

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def _tensors(self, inputs: Any) -> Any:
        tensor = self._pb.Tensor(datatype="FP64", shape=inputs.shape, data=inputs.tobytes())
        return self._pb.PredictRequest(name=_NAME, tensors=self._pb.Tensors(tensors=[tensor]))

    def one_as_tensors(self) -> None:
        self._stub.Predict(self._one)

    def one_as_json(self) -> None:
        self._stub.Predict(self._json)

    def table(self) -> None:
        (answer,) = self._stub.Predict(self._table).tensors.tensors
        assert answer.shape[0] == _ROWS

    async def rate(self, seconds: float) -> float:
        async with grpc.aio.insecure_channel(self._address) as channel:
            stub = self._stub_of(channel)

            async def call() -> None:
                await stub.Predict(self._one)

            return await _calls_per_second(call, seconds)

    def growth(self, calls: int) -> float:
        """How many MiB the server's process grows by, workers apart."""
        served = self._stub.GetServedModel(self._pb.GetServedModelRequest(name=_NAME))
        worker = served.served_model.versions[0].replicas[0].pid
        server = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
        before = _resident(server)
        for _ in range(calls):
            self.one_as_tensors()
        return _resident(server) - before


class _Mlflow:
    """`mlflow models serve`, called over connections that stay open."""

    def __init__(self, url: str, inputs: Any) -> None:
        self._url = url
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"))
        self._one = json.dumps({"inputs": inputs[:1].tolist()}).encode()
        self._table = json.dumps({"inputs": inputs.tolist()}).encode()

    def one(self) -> None:
        self._ask(self._one)

    def table(self) -> None:
        assert len(self._ask(self._table)["predictions"]) == _ROWS

    def _ask(self, body: bytes) -> Any:
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/invocations", body, headers)
        # MLflow's server sends its answer in two parts, and the second waits until the kernel
        # acknowledges the first, which it puts off for 40 ms: no work, so not counted.
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        return answer

    async def rate(self, seconds: float) -> float:
        import aiohttp

        headers = {"Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(limit=_CALLERS)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def call() -> None:
                async with session.post(f"{self._url}/invocations", data=self._one) as response:
                    assert response.status == 200
                    await response.read()

            return await _calls_per_second(call, seconds)


async def _calls_per_second(call: Callable[[], Awaitable[None]], seconds: float) -> float:
    """How many calls end in a second when each caller makes one after the other."""

    async def caller(until: float) -> int:
        done = 0
        while time.perf_counter() < until:
            await call()
            done += 1
        return done

    await asyncio.gather(*(caller(time.perf_counter() + 0.5) for _ in range(_CALLERS)))
    start = time.perf_counter()
    counts = await asyncio.gather(*(caller(start + seconds) for _ in range(_CALLERS)))
    return sum(counts) / (time.perf_counter() - start)


def _resident(pid: int) -> float:
    """The memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
