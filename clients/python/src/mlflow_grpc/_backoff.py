"""How long to wait before another attempt."""

from __future__ import annotations

import random

__all__ = ["backoff"]

_FIRST = 0.1
# Longer than any pause, and still a float: attempts may go on for days.
_MOST_DOUBLINGS = 60


def backoff(attempt: int, longest: float) -> float:
    """A random pause in seconds; its bound doubles with each attempt, the first being 0."""
    return random.uniform(0, min(longest, _FIRST * 2 ** min(attempt, _MOST_DOUBLINGS)))
