"""What one request logs to one run, checked, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeAlias

from mlflow_grpc_server.exceptions import RequestError

__all__ = ["Entries", "EntryKind", "MetricRow", "ModelMetric", "Outcome", "Rejected", "Writer"]

MetricRow: TypeAlias = tuple[str, float, int, int, bool, str]
"""A row of MLflow's `metrics`: key, value, timestamp in ms, step, is_nan, run. The value is
finite, as MLflow stores it. A plain tuple, because there are very many."""


class EntryKind(Enum):
    """What an entry is. The value is the request's field that holds it."""

    METRIC = "metrics"
    PARAM = "params"
    TAG = "tags"


@dataclass(frozen=True, slots=True)
class ModelMetric:
    """A point that belongs to a logged model as well as to its run."""

    index: int
    """Where it stands among the metrics of the request."""
    place: int
    """Where its row stands in `Entries.metrics`."""
    model_id: str
    dataset_name: str | None
    dataset_digest: str | None


@dataclass(slots=True)
class Entries:
    """What one request logs to one run. Params and tags come as index, key and value."""

    run_id: str
    metrics: list[MetricRow] = field(default_factory=list)
    params: list[tuple[int, str, str]] = field(default_factory=list)
    tags: list[tuple[int, str, str]] = field(default_factory=list)
    model_metrics: list[ModelMetric] = field(default_factory=list)
    """Those of `metrics` that belong to a logged model as well."""
    atomic: bool = False
    """Whether one bad entry refuses them all; else the good ones are stored."""

    @property
    def size(self) -> int:
        """How many entries these are."""
        return len(self.metrics) + len(self.params) + len(self.tags)


@dataclass(frozen=True, slots=True)
class Rejected:
    """An entry that can never be stored, by its place in the request, and why."""

    kind: EntryKind
    index: int
    error: RequestError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of entries: stored, but for those rejected.

    With `refused`, none of them is stored.
    """

    refused: RequestError | None = None
    rejected: Sequence[Rejected] = ()


class Writer(Protocol):
    """Stores entries. Every method blocks."""

    def write(self, group: Sequence[Entries]) -> list[Outcome]:
        """Commit a group, of any runs, in order; return an outcome for each.

        All or nothing is committed when it raises: StoreUnavailableError if the store is away,
        anything else for a group that the store does not take.
        """
