"""Names with a fixed set of values, spelled as MLflow spells them."""

from __future__ import annotations

from enum import Enum


class _Name(str, Enum):
    """A string enum: a member equals its value, and prints as it."""

    def __str__(self) -> str:
        return str(self.value)

    @classmethod
    def _missing_(cls, value: object) -> _Name | None:
        # MLflow takes "production" for "Production".
        if isinstance(value, str):
            for member in cls:
                if member.value.lower() == value.lower():
                    return member
        return None


class RunStatus(_Name):
    """Where a run stands."""

    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    UNKNOWN = "UNKNOWN"
    """Sent by a server newer than this client; cannot be sent to one."""


class LifecycleStage(_Name):
    """Whether an experiment or a run is in use or in the trash."""

    ACTIVE = "active"
    DELETED = "deleted"
    UNKNOWN = "unknown"
    """Sent by a server newer than this client."""


class ViewType(_Name):
    """Which lifecycle stages a search includes."""

    ACTIVE_ONLY = "active_only"
    DELETED_ONLY = "deleted_only"
    ALL = "all"


class ModelVersionStage(_Name):
    """The stage of a model version. MLflow recommends aliases instead."""

    NONE = "None"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"
    UNKNOWN = "Unknown"
    """Sent by a server newer than this client; cannot be sent to one."""


class ModelVersionStatus(_Name):
    """Whether a model version can be used."""

    PENDING_REGISTRATION = "PENDING_REGISTRATION"
    FAILED_REGISTRATION = "FAILED_REGISTRATION"
    READY = "READY"
    UNKNOWN = "UNKNOWN"
    """Sent by a server newer than this client."""


class Component(_Name):
    """A part of the service that can fail by itself."""

    SERVER = "SERVER"
    TRACKING_STORE = "TRACKING_STORE"
    MODEL_REGISTRY = "MODEL_REGISTRY"
    ARTIFACT_STORE = "ARTIFACT_STORE"
    UNKNOWN = "UNKNOWN"
    """Sent by a server newer than this client."""


class ServedModelState(_Name):
    """Where a served model stands."""

    DEPLOYING = "DEPLOYING"
    READY = "READY"
    DEGRADED = "DEGRADED"
    FAILED = "FAILED"
    DRAINING = "DRAINING"
    UNKNOWN = "UNKNOWN"
    """Sent by a server newer than this client."""


class ReplicaState(_Name):
    """Where a replica of a served model stands."""

    STARTING = "STARTING"
    READY = "READY"
    BACKING_OFF = "BACKING_OFF"
    FAILED = "FAILED"
    DRAINING = "DRAINING"
    UNKNOWN = "UNKNOWN"
    """Sent by a server newer than this client."""


class HealthState(_Name):
    """How a part of the service is."""

    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    UNKNOWN = "UNKNOWN"
    """Sent by a server newer than this client."""


class MetricGoal(_Name):
    """Which values of a metric are better."""

    MINIMIZE = "MINIMIZE"
    MAXIMIZE = "MAXIMIZE"
