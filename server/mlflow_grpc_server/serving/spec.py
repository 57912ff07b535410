"""What is deployed, and what there is to see of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = [
    "DEFAULT_PREDICT_SECONDS",
    "Answer",
    "ModelState",
    "ReplicaState",
    "ReplicaView",
    "Served",
    "Spec",
    "TensorInfo",
    "TensorInfos",
    "VersionView",
    "WeightedUri",
]

DEFAULT_PREDICT_SECONDS = 60.0


class ModelState(Enum):
    """Where a served model stands."""

    DEPLOYING = "deploying"
    READY = "ready"
    DEGRADED = "degraded"
    FAILED = "failed"
    DRAINING = "draining"


class ReplicaState(Enum):
    """Where a replica stands."""

    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing off"
    FAILED = "failed"
    DRAINING = "draining"


@dataclass(frozen=True)
class WeightedUri:
    """A model as it was asked for, and its share of the calls."""

    uri: str
    weight: int = 1


@dataclass(frozen=True)
class Spec:
    """What to deploy under a name, and how. Memory in bytes, 0 for no limit; times in seconds."""

    name: str
    models: tuple[WeightedUri, ...]
    replicas: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_limit: int = 0
    predict_timeout: float = DEFAULT_PREDICT_SECONDS
    concurrency: int = 1
    max_batch_calls: int = 0
    """0: as many as fit, for a model known to answer each row by itself; else one."""


@dataclass(frozen=True)
class ReplicaView:
    """A replica as it is at one moment."""

    state: ReplicaState
    pid: int = 0
    restarts: int = 0
    last_failure: str = ""


@dataclass(frozen=True)
class VersionView:
    """A version behind a name as it is at one moment; weight 0 while it is not called."""

    uri: str
    resolved_uri: str
    weight: int
    replicas: tuple[ReplicaView, ...]


@dataclass(frozen=True)
class Served:
    """A served model as it is at one moment. Times in milliseconds since the epoch."""

    spec: Spec
    state: ModelState
    versions: tuple[VersionView, ...]
    reason: str = ""
    log_lines: tuple[str, ...] = ()
    create_time_ms: int | None = None
    update_time_ms: int | None = None


@dataclass(frozen=True)
class Answer:
    """What a model said: a serialized PredictResponse or Value, and which version said it."""

    payload: bytes
    model_uri: str


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model, in the words of the Open Inference Protocol."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TensorInfos:
    """The inputs and outputs of a model; empty where it has no signature."""

    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    rows_are_independent: bool = False
    """Whether the answer for a row is known not to depend on the other rows."""

    @classmethod
    def from_json(cls, parsed: Mapping[str, Any]) -> TensorInfos:
        """Return what a worker says of its model."""

        def infos(key: str) -> tuple[TensorInfo, ...]:
            return tuple(TensorInfo(n, d, tuple(s)) for n, d, s in parsed.get(key, ()))

        return cls(infos("inputs"), infos("outputs"), parsed.get("rows_are_independent", False))
