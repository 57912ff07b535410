"""Pauses between attempts."""

from __future__ import annotations

import pytest

from mlflow_grpc._backoff import backoff


@pytest.mark.parametrize(
    ("attempt", "bound"), [(0, 0.1), (1, 0.2), (3, 0.8), (6, 5.0), (10_000_000, 5.0)]
)
def test_bounds_double_up_to_the_longest(attempt: int, bound: float) -> None:
    pauses = [backoff(attempt, 5.0) for _ in range(2000)]
    assert 0 <= min(pauses) < bound * 0.1
    assert bound * 0.9 < max(pauses) <= bound
