"""Print what was measured as Markdown."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

from tests.benchmarks.measure import Timing

__all__ = ["Row", "machine", "must", "musts", "say", "table"]

MUST_RATIO = 1.8
"""How many times faster than REST an operation must be, at p50."""

MUST_EXTRA_MS = 1.0
"""How many milliseconds more than in-process an operation may take, at p50."""


@dataclass(frozen=True)
class Row:
    """One operation on the three backends."""

    name: str
    this: Timing
    rest: Timing
    in_process: Timing
    required: bool
    """Whether the requirements are about this operation."""

    @property
    def ratio(self) -> float:
        """How many times faster than REST, at p50."""
        return self.rest.p50 / self.this.p50

    @property
    def extra(self) -> float:
        """How many milliseconds more than in-process, at p50."""
        return self.this.p50 - self.in_process.p50


def table(rows: Iterable[Row]) -> str:
    """The table of all operations."""
    lines = [
        "| operation | calls each | this, p50 / p99 ms | REST, p50 / p99 ms "
        "| in-process, p50 / p99 ms | REST / this, p50 | this - in-process, p50 ms |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        timings = " | ".join(_both(timing) for timing in (row.this, row.rest, row.in_process))
        lines.append(
            f"| {row.name} | {row.this.calls} | {timings} | {row.ratio:.2f} | {row.extra:+.2f} |"
        )
    return "\n".join(lines)


def machine(load_before: float) -> str:
    """The line about the machine and the versions, and whether others used it meanwhile."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"Machine: {os.cpu_count()} cores, {memory:.1f} GiB memory, "
        f"Python {platform.python_version()}, MLflow {version('mlflow')}, "
        f"grpcio {version('grpcio')}, {platform.platform()}, "
        f"load average {load_before:.1f} before and {os.getloadavg()[0]:.1f} after"
    )


def musts(rows: Iterable[Row]) -> str:
    """A line for each requirement, met or not."""
    lines = []
    for row in rows:
        if row.required:
            lines.append(
                f"must: {row.name} at least {MUST_RATIO} times faster than REST at p50: "
                f"{row.ratio:.2f} times, {_verdict(row.ratio >= MUST_RATIO)}"
            )
            lines.append(
                f"must: {row.name} within {MUST_EXTRA_MS} ms of in-process at p50: "
                f"{row.extra:+.2f} ms, {_verdict(row.extra <= MUST_EXTRA_MS)}"
            )
    return "\n".join(f"- {line}" for line in lines)


def _both(timing: Timing) -> str:
    return f"{timing.p50:.2f} / {timing.p99:.2f}"


def _verdict(met: bool) -> str:
    return "met" if met else "NOT met"


def must(what: str, least: float, reached: float) -> str:
    """The line for a ratio that must be reached, met or not."""
    return f"- must: {what} at least {least:g} times: {reached:.2f}, {_verdict(reached >= least)}"


def say(text: str) -> None:
    """Progress, apart from the report."""
    print(text, file=sys.stderr, flush=True)
