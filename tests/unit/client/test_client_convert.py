"""Conversion: no field of a response is lost, and enums are complete."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mlflow_grpc import (
    Component,
    Dataset,
    DatasetInput,
    HealthState,
    LifecycleStage,
    Metric,
    ModelVersionStage,
    ModelVersionStatus,
    RunStatus,
    ViewType,
    _convert,
)
from mlflow_grpc.v1 import resources_pb2 as pb
from mlflow_grpc.v1 import status_service_pb2 as status_pb

CONVERTERS: dict[type[Message], Any] = {
    pb.Experiment: _convert.experiment,
    pb.Metric: _convert.metric,
    pb.DatasetInput: _convert.dataset_input,
    pb.RunInfo: _convert.run_info,
    pb.Run: _convert.run,
    pb.ModelVersion: _convert.model_version,
    pb.RegisteredModel: _convert.registered_model,
    status_pb.GetHealthResponse: _convert.health,
    status_pb.GetServerInfoResponse: _convert.server_info,
    status_pb.GetVersionResponse: _convert.version,
}


def _variants(message: Message) -> list[tuple[str, Message]]:
    """The message with one leaf set, for every leaf, each under the leaf's path."""
    made = []
    for field in message.DESCRIPTOR.fields:
        before = type(message)()
        before.CopyFrom(message)
        holder = getattr(before, field.name)
        if hasattr(holder, "add"):
            holder.add()
            # An empty entry is there, and stands for one that differs below.
            below = [(path, [item]) for path, item in _variants(holder[0])]
        elif field.message_type is not None and field.message_type.name in (
            "Timestamp",
            "Duration",
        ):
            holder.FromMilliseconds(1_500)
            made.append((field.name, before))
            continue
        elif field.message_type is not None:
            below = _variants(holder)
        else:
            value = 3 if field.type == FieldDescriptor.TYPE_INT64 else 1
            scalar: Any = "x" if field.type == FieldDescriptor.TYPE_STRING else value
            if hasattr(holder, "append"):
                holder.append(scalar)
            else:
                setattr(before, field.name, scalar)
            made.append((field.name, before))
            continue
        for path, value in below:
            variant = type(message)(**{field.name: value})
            made.append((f"{field.name}.{path}", variant))
    return made


@pytest.mark.parametrize("kind", CONVERTERS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_every_field_of_a_response_counts(kind: type[Message]) -> None:
    convert = CONVERTERS[kind]
    results = {path: repr(convert(variant)) for path, variant in _variants(kind())}

    nothing = repr(convert(kind()))
    assert [path for path, result in results.items() if result == nothing] == []
    assert len(set(results.values())) == len(results)


@pytest.mark.parametrize(
    ("names", "table", "proto", "prefix"),
    [
        (RunStatus, _convert.RUN_STATUSES, pb.RunStatus, "RUN_STATUS_"),
        (LifecycleStage, _convert.LIFECYCLE_STAGES, pb.LifecycleStage, "LIFECYCLE_STAGE_"),
        (ViewType, _convert.VIEW_TYPES, pb.ViewType, "VIEW_TYPE_"),
        (ModelVersionStage, _convert.STAGES, pb.ModelVersionStage, "MODEL_VERSION_STAGE_"),
        (
            ModelVersionStatus,
            _convert.VERSION_STATUSES,
            pb.ModelVersionStatus,
            "MODEL_VERSION_STATUS_",
        ),
        (Component, _convert.COMPONENTS, status_pb.Component, "COMPONENT_"),
        (HealthState, _convert.HEALTH_STATES, status_pb.HealthState, "HEALTH_STATE_"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_enums_are_complete(names: Any, table: Any, proto: Any, prefix: str) -> None:
    assert {f"{prefix}{name.name}": number for name, number in table.items()} == {
        name: number for name, number in proto.items() if number != 0
    }
    assert set(names) - set(table) == {name for name in names if name.name == "UNKNOWN"}


def test_enums_read_as_mlflow_spells_them() -> None:
    assert RunStatus.FINISHED == "FINISHED"
    assert f"{ModelVersionStage.PRODUCTION}" == "Production"
    assert LifecycleStage.ACTIVE == "active"
    assert _convert.stage_to_proto("none") == pb.MODEL_VERSION_STAGE_NONE


def test_a_name_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="not a valid RunStatus"):
        _convert.run_status_to_proto("DONE")
    with pytest.raises(ValueError, match="UNKNOWN is not one of RUNNING, "):
        _convert.run_status_to_proto(RunStatus.UNKNOWN)


def test_a_value_of_a_newer_server_is_unknown() -> None:
    info = pb.RunInfo.FromString(pb.RunInfo(run_id="r").SerializeToString() + b"\x28\x63")
    assert info.status == 99
    assert _convert.run_info(info).status is RunStatus.UNKNOWN


@pytest.mark.parametrize("milliseconds", [0, 1, 999, 1_700_000_000_123, -1])
def test_times_are_exact_milliseconds(milliseconds: int) -> None:
    stamp = _convert.time_to_proto(milliseconds)
    assert isinstance(stamp, Timestamp)
    assert 0 <= stamp.nanos < 1_000_000_000
    assert _convert.run_info(pb.RunInfo(start_time=stamp)).start_time == milliseconds


def test_an_absent_time_is_none() -> None:
    assert _convert.time_to_proto(None) is None
    assert _convert.run_info(pb.RunInfo()).end_time is None


def test_a_metric_comes_back_as_it_was() -> None:
    metric = Metric("k", 0.1, 5, -2, "m-1", "d", "x")
    assert _convert.metric(_convert.metric_to_proto(metric, now=9)) == metric


def test_a_metric_without_a_time_gets_now() -> None:
    metric = _convert.metric(_convert.metric_to_proto(Metric("k", math.nan), now=9))
    assert (metric.timestamp, metric.step) == (9, 0)
    assert math.isnan(metric.value)


def test_the_epoch_is_a_time() -> None:
    assert _convert.metric_to_proto(Metric("k", 1, timestamp=0), now=9).timestamp_ms == 0


def test_a_dataset_comes_back_as_it_was() -> None:
    used = DatasetInput(Dataset("n", "d", "t", "s", "c", "p"), {"a": "b"})
    assert _convert.dataset_input(_convert.dataset_input_to_proto(used)) == used


def test_latest_metrics_are_values_and_points() -> None:
    point = pb.Metric(key="loss", value=0.5, timestamp_ms=7, step=3)
    data = _convert.run(pb.Run(data=pb.RunData(metrics=[point]))).data
    assert data.metrics == {"loss": 0.5}
    assert data.latest_metrics == {"loss": Metric("loss", 0.5, 7, 3)}
