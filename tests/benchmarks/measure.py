"""Time operations on several backends by turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmarks.backends import Backend

__all__ = ["Operation", "Plan", "Timing", "measure"]


@dataclass(frozen=True)
class Plan:
    """How often an operation is called on each backend."""

    warm_up: int
    rounds: int
    calls: int
    """Calls in a row on one backend, before the next one has its turn."""


@dataclass(frozen=True)
class Operation:
    """One line of the table."""

    name: str
    call: Callable[[Backend], object]
    plan: Plan
    expected: object = None
    """What each call returns; anything else ends the benchmark."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one operation on one backend."""

    p50: float
    p99: float
    calls: int


def measure(operation: Operation, backends: Sequence[Backend]) -> list[Timing]:
    """Time `operation` on the backends by turns, so that a drifting machine hits all alike."""
    for backend in backends:
        for _ in range(operation.plan.warm_up):
            _timed(operation, backend)
    samples: list[list[float]] = [[] for _ in backends]
    for round_number in range(operation.plan.rounds):
        for turn in range(len(backends)):
            # Each round begins with another backend, so that none always follows the same one.
            index = (round_number + turn) % len(backends)
            for _ in range(operation.plan.calls):
                samples[index].append(_timed(operation, backends[index]))
    return [
        Timing(p50=_percentile(taken, 50), p99=_percentile(taken, 99), calls=len(taken))
        for taken in samples
    ]


def _timed(operation: Operation, backend: Backend) -> float:
    start = time.perf_counter_ns()
    result = operation.call(backend)
    taken = (time.perf_counter_ns() - start) / 1e6
    if result != operation.expected:
        kind = type(backend).__name__
        raise RuntimeError(f"{operation.name}: {kind} gave {result}, not {operation.expected}")
    return taken


def _percentile(samples: Sequence[float], percent: float) -> float:
    """The percentile, interpolated between the two samples next to it."""
    ordered = sorted(samples)
    position = (len(ordered) - 1) * percent / 100
    low, high = ordered[math.floor(position)], ordered[math.ceil(position)]
    return low + (high - low) * (position % 1)
