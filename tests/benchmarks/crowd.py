"""Very many trainers that each log a little, on a connection each."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc

from mlflow_grpc.v1 import (
    experiment_service_pb2,
    experiment_service_pb2_grpc,
    resources_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
)

__all__ = ["Crowd", "Held", "run_crowd"]

_OPENING_AT_ONCE = 20


@dataclass(frozen=True)
class Crowd:
    """How many trainers log how much for how long, and how they pack it."""

    runs: int
    points_per_second: int
    seconds: float
    linger: float
    """Seconds for which a trainer gathers points before it sends them, as the client does."""


@dataclass(frozen=True)
class Held:
    """What came of it: points sent and acknowledged, and the seconds from the moment a point was
    logged, its wait in the trainer included, until it was acknowledged."""

    run_ids: list[str]
    points: int
    p50: float
    p99: float
    behind: float
    """How many seconds later than planned the last message was sent."""


def run_crowd(address: str, crowd: Crowd) -> Held:
    """Run a crowd on one event loop; returns when everything is acknowledged."""
    return asyncio.run(_run(address, crowd))


async def _run(address: str, crowd: Crowd) -> Held:
    opening = asyncio.Semaphore(_OPENING_AT_ONCE)
    trainers = [_Trainer(address, crowd) for _ in range(crowd.runs)]
    await asyncio.gather(*(trainer.open(opening) for trainer in trainers))
    await asyncio.gather(*(trainer.train() for trainer in trainers))
    waits = sorted(wait for trainer in trainers for wait in trainer.waits)
    return Held(
        run_ids=[trainer.run_id for trainer in trainers],
        points=len(waits),
        p50=waits[len(waits) // 2],
        p99=waits[len(waits) * 99 // 100],
        behind=max(trainer.behind for trainer in trainers),
    )


class _Trainer:
    def __init__(self, address: str, crowd: Crowd) -> None:
        # Its own pool, or all channels of a process would share one connection.
        options = (("grpc.use_local_subchannel_pool", 1),)
        self._channel = grpc.aio.insecure_channel(address, options=options)
        self._crowd = crowd
        self._logged: dict[int, list[float]] = {}
        self.run_id = ""
        self.waits: list[float] = []
        self.behind = 0.0

    async def open(self, opening: asyncio.Semaphore) -> None:
        """Connect, and start a run."""
        async with opening:
            experiments = experiment_service_pb2_grpc.ExperimentServiceStub(self._channel)
            started = await experiments.StartRun(
                experiment_service_pb2.StartRunRequest(experiment_id="0")
            )
            self.run_id = started.run.info.run_id

    async def train(self) -> None:
        """Log, until everything is acknowledged."""
        call = run_service_pb2_grpc.RunServiceStub(self._channel).StreamMetrics(self._messages())
        acknowledged = 0
        async for response in call:
            now = time.monotonic()
            for sequence in range(acknowledged + 1, response.ack.sequence + 1):
                self.waits += [now - logged for logged in self._logged.pop(sequence)]
            acknowledged = max(acknowledged, response.ack.sequence)
        await self._channel.close()

    async def _messages(self) -> AsyncIterator[run_service_pb2.StreamMetricsRequest]:
        crowd = self._crowd
        # Nobody starts training in the same millisecond as everybody else.
        start = time.monotonic() + random.random() / crowd.points_per_second * 10
        per_message = max(1, round(crowd.linger * crowd.points_per_second))
        total = round(crowd.seconds * crowd.points_per_second)
        for sequence, first in enumerate(range(0, total, per_message), start=1):
            steps = range(first, min(first + per_message, total))
            logged = [start + step / crowd.points_per_second for step in steps]
            await asyncio.sleep(max(0.0, logged[-1] - time.monotonic()))
            self.behind = max(self.behind, time.monotonic() - logged[-1])
            self._logged[sequence] = logged
            yield run_service_pb2.StreamMetricsRequest(
                sequence=sequence,
                run_id=self.run_id,
                metrics=[
                    resources_pb2.Metric(
                        key="loss", value=step / 7, timestamp_ms=1_700_000_000_000 + step, step=step
                    )
                    for step in steps
                ],
            )
