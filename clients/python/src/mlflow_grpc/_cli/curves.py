"""What a watched run's metrics look like, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlflow_grpc._entities import Metric

__all__ = ["Curve", "Curves", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_GAP = "·"
# Finer than any terminal is wide.
_MOST_VALUES = 512


@dataclass(slots=True)
class Curve:
    """One metric: the last point, the extremes, and a sample of the values in order."""

    last: Metric
    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    values: list[float] = field(default_factory=list)
    _every: int = 1

    def add(self, point: Metric) -> None:
        """Takes in a point."""
        if (point.step, point.timestamp or 0) >= (self.last.step, self.last.timestamp or 0):
            self.last = point
        if math.isfinite(point.value):
            self.low = min(self.low, point.value)
            self.high = max(self.high, point.value)
        if self.count % self._every == 0:
            self.values.append(point.value)
            if len(self.values) > _MOST_VALUES:
                del self.values[1::2]
                self._every *= 2
        self.count += 1


class Curves:
    """The curves of a run, by key."""

    def __init__(self) -> None:
        self.by_key: dict[str, Curve] = {}

    def add(self, points: Iterable[Metric]) -> None:
        """Takes in points."""
        for point in points:
            curve = self.by_key.get(point.key)
            if curve is None:
                curve = self.by_key[point.key] = Curve(point)
            curve.add(point)


def sparkline(values: list[float], width: int) -> str:
    """Values as at most `width` characters, the lowest as the lowest bar."""
    if len(values) > width:
        values = [values[index * len(values) // width] for index in range(width - 1)] + values[-1:]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return _GAP * len(values)
    low, high = min(finite), max(finite)
    return "".join(_bar(value, low, high) if math.isfinite(value) else _GAP for value in values)


def _bar(value: float, low: float, high: float) -> str:
    if high == low:
        return _BARS[0]
    # Halves, as the difference of the largest floats is not a float.
    share = (value / 2 - low / 2) / (high / 2 - low / 2)
    return _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)]
