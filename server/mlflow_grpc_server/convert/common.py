"""What the messages of several resources share."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow_grpc.v1.resources_pb2 import LifecycleStage, Tag

__all__ = ["lifecycle_stage", "tags_to_proto"]


def lifecycle_stage(stage: str) -> LifecycleStage.ValueType:
    """Return MLflow's lifecycle stage as an enum value."""
    return LifecycleStage.Value(f"LIFECYCLE_STAGE_{stage.upper()}")


def tags_to_proto(tags: Mapping[str, str]) -> list[Tag]:
    """Return tags as messages, sorted by key."""
    return [Tag(key=key, value=tags[key] or "") for key in sorted(tags)]
