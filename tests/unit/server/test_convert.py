"""Round trips: what MLflow has reaches the client whole, and what the client sends, MLflow."""

from __future__ import annotations

import math
import string
import sys
from typing import Any

from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from mlflow import entities as mlflow
from mlflow.entities import model_registry

import mlflow_grpc as client
from mlflow_grpc import _convert
from mlflow_grpc.v1 import run_service_pb2
from mlflow_grpc.v1.resources_pb2 import Param, Tag
from mlflow_grpc_server.convert import experiments, registry, runs
from mlflow_grpc_server.ingest.entries import MetricRow, ModelMetric

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
SOME_TEXT = TEXT.filter(bool)
KEYS = st.text(string.ascii_letters + "ü_-. ", min_size=1, max_size=9).map(lambda key: f"k{key}k")
MODEL_IDS = st.text("0123456789abcdef", min_size=32, max_size=32).map(lambda digits: f"m-{digits}")
MAYBE_TEXT = st.none() | SOME_TEXT
MAYBE_ID = st.none() | MODEL_IDS
INT64 = st.integers(-(2**63), 2**63 - 1)
# From 1970 to 9999, as a Timestamp has it.
TIMES = st.integers(0, 253402300799_999)
MAYBE_TIME = st.none() | TIMES
NUMBERS = st.floats(allow_nan=False)
TAGS = st.dictionaries(KEYS, TEXT, max_size=3)
STAGES = st.sampled_from(["active", "deleted"]).map(client.LifecycleStage)

DATASET_NAMES = st.fixed_dictionaries({"dataset_name": SOME_TEXT, "dataset_digest": SOME_TEXT})
METRICS = st.builds(
    lambda names, **parts: client.Metric(**parts, **names),
    names=DATASET_NAMES | st.just({}),
    key=KEYS,
    value=NUMBERS,
    timestamp=st.integers(0, 2**63 - 1),
    step=INT64,
    model_id=MAYBE_ID,
)
DATASETS = st.builds(
    client.Dataset, SOME_TEXT, SOME_TEXT, SOME_TEXT, SOME_TEXT, schema=TEXT, profile=TEXT
)
DATASET_INPUTS = st.builds(client.DatasetInput, DATASETS, TAGS)
EXPERIMENTS = st.builds(
    lambda tags, **parts: client.Experiment(
        **parts, tags=tags, description=tags.get("mlflow.note.content", "")
    ),
    experiment_id=SOME_TEXT,
    name=SOME_TEXT,
    artifact_location=SOME_TEXT,
    lifecycle_stage=STAGES,
    creation_time=MAYBE_TIME,
    last_update_time=MAYBE_TIME,
    tags=TAGS | st.fixed_dictionaries({"mlflow.note.content": TEXT}),
)
RUN_INFOS = st.builds(
    client.RunInfo,
    run_id=SOME_TEXT,
    run_name=TEXT,
    experiment_id=SOME_TEXT,
    user_id=TEXT,
    status=st.sampled_from([one for one in client.RunStatus if one.name != "UNKNOWN"]),
    start_time=TIMES,
    end_time=MAYBE_TIME,
    artifact_uri=TEXT,
    lifecycle_stage=STAGES,
)
RUN_DATA = st.builds(
    lambda latest, params, tags: client.RunData(
        {key: one.value for key, one in latest.items()}, params, tags, latest
    ),
    st.lists(METRICS, max_size=3).map(lambda points: {one.key: one for one in points}),
    TAGS,
    TAGS,
)
RUNS = st.builds(
    client.Run,
    RUN_INFOS,
    RUN_DATA,
    st.builds(
        client.RunInputs,
        st.lists(DATASET_INPUTS, max_size=2).map(tuple),
        st.lists(st.builds(client.LoggedModelInput, MODEL_IDS), max_size=2).map(tuple),
    ),
    st.builds(
        client.RunOutputs,
        st.lists(st.builds(client.LoggedModelOutput, MODEL_IDS, INT64), max_size=2).map(tuple),
    ),
)
VERSIONS = st.builds(
    client.ModelVersion,
    name=SOME_TEXT,
    version=st.integers(1, 10**9).map(str),
    creation_timestamp=MAYBE_TIME,
    last_updated_timestamp=MAYBE_TIME,
    description=TEXT,
    user_id=MAYBE_TEXT,
    current_stage=st.sampled_from(
        [one for one in client.ModelVersionStage if one.name != "UNKNOWN"]
    ),
    source=TEXT,
    run_id=MAYBE_TEXT,
    status=st.sampled_from([one for one in client.ModelVersionStatus if one.name != "UNKNOWN"]),
    status_message=TEXT,
    tags=TAGS,
    run_link=MAYBE_TEXT,
    aliases=st.sets(SOME_TEXT, max_size=3).map(lambda names: tuple(sorted(names))),
    model_id=MAYBE_TEXT,
)
MODELS = st.builds(
    client.RegisteredModel,
    name=SOME_TEXT,
    creation_timestamp=MAYBE_TIME,
    last_updated_timestamp=MAYBE_TIME,
    description=TEXT,
    latest_versions=st.lists(VERSIONS, max_size=2).map(tuple),
    tags=TAGS,
    aliases=st.dictionaries(SOME_TEXT, st.integers(1, 9).map(str), max_size=3),
)


def parts(entity: Any) -> dict[str, Any]:
    """Return the fields of a client's dataclass by name."""
    return {name: getattr(entity, name) for name in entity.__dataclass_fields__}


def sent(message: Message) -> Any:
    """Return the message as it comes off the wire."""
    return type(message).FromString(message.SerializeToString())


def metric(ours: client.Metric) -> mlflow.Metric:
    return mlflow.Metric(**parts(ours))


def dataset_input(ours: client.DatasetInput) -> mlflow.DatasetInput:
    tags = [mlflow.InputTag(key, value) for key, value in ours.tags.items()]
    return mlflow.DatasetInput(mlflow.Dataset(**parts(ours.dataset)), tags)


def model_version(ours: client.ModelVersion) -> model_registry.ModelVersion:
    tags = [model_registry.ModelVersionTag(key, value) for key, value in ours.tags.items()]
    changed = {"tags": tags, "aliases": list(ours.aliases), "status": ours.status.name}
    return model_registry.ModelVersion(
        **{**parts(ours), **changed, "current_stage": ours.current_stage.value}
    )


@given(EXPERIMENTS)
def test_an_experiment_reaches_the_client_whole(ours: client.Experiment) -> None:
    given_parts = parts(ours)
    del given_parts["description"]
    tags = [mlflow.ExperimentTag(key, value) for key, value in ours.tags.items()]
    changed = {"tags": tags, "lifecycle_stage": ours.lifecycle_stage.value}
    entity = mlflow.Experiment(**{**given_parts, **changed})
    assert _convert.experiment(sent(experiments.experiment_to_proto(entity))) == ours


@given(RUNS)
def test_a_run_reaches_the_client_whole(ours: client.Run) -> None:
    stages = {
        "status": ours.info.status.name,
        "lifecycle_stage": ours.info.lifecycle_stage.value,
    }
    entity = mlflow.Run(
        mlflow.RunInfo(**{**parts(ours.info), **stages}),
        mlflow.RunData(
            metrics=[metric(one) for one in ours.data.latest_metrics.values()],
            params=[mlflow.Param(key, value) for key, value in ours.data.params.items()],
            tags=[mlflow.RunTag(key, value) for key, value in ours.data.tags.items()],
        ),
        mlflow.RunInputs(
            [dataset_input(one) for one in ours.inputs.dataset_inputs],
            [mlflow.LoggedModelInput(one.model_id) for one in ours.inputs.model_inputs],
        ),
        mlflow.RunOutputs(
            [mlflow.LoggedModelOutput(one.model_id, one.step) for one in ours.outputs.model_outputs]
        ),
    )
    assert _convert.run(sent(runs.run_to_proto(entity))) == ours


@given(METRICS)
def test_a_point_reaches_the_client_whole(ours: client.Metric) -> None:
    assert _convert.metric(sent(runs.metric_to_proto(metric(ours)))) == ours


@given(VERSIONS)
def test_a_model_version_reaches_the_client_whole(ours: client.ModelVersion) -> None:
    assert _convert.model_version(sent(registry.version_to_proto(model_version(ours)))) == ours


@given(MODELS)
def test_a_registered_model_reaches_the_client_whole(ours: client.RegisteredModel) -> None:
    entity = model_registry.RegisteredModel(
        **{
            **parts(ours),
            "latest_versions": [model_version(one) for one in ours.latest_versions],
            "tags": [model_registry.RegisteredModelTag(k, v) for k, v in ours.tags.items()],
            "aliases": [
                model_registry.RegisteredModelAlias(alias, version)
                for alias, version in ours.aliases.items()
            ],
        }
    )
    assert _convert.registered_model(sent(registry.registered_model_to_proto(entity))) == ours


@given(st.lists(METRICS, min_size=1, max_size=3), TAGS, TAGS)
def test_a_batch_reaches_mlflow_whole(
    points: list[client.Metric], params: dict[str, str], tags: dict[str, str]
) -> None:
    request = sent(
        run_service_pb2.LogBatchRequest(
            run_id="r",
            metrics=[_convert.metric_to_proto(point, now=0) for point in points],
            params=[Param(key=key, value=value) for key, value in params.items()],
            tags=[Tag(key=key, value=value) for key, value in tags.items()],
        )
    )
    batch = runs.batch(request.run_id, request.metrics, request.params, request.tags)
    assert batch.run_id == "r"
    assert batch.metrics == [stored_row(point) for point in points]
    assert batch.model_metrics == [
        ModelMetric(place, place, point.model_id, point.dataset_name, point.dataset_digest)
        for place, point in enumerate(points)
        if point.model_id
    ]
    assert batch.params == [(index, *param) for index, param in enumerate(params.items())]
    assert batch.tags == [(index, *tag) for index, tag in enumerate(tags.items())]


def stored_row(point: client.Metric) -> MetricRow:
    """The row that MLflow stores for a point: NaN as 0 with a mark, infinities as the limits."""
    most = sys.float_info.max
    value = 0.0 if math.isnan(point.value) else max(-most, min(most, point.value))
    return (point.key, value, point.timestamp or 0, point.step, math.isnan(point.value), "r")


@given(st.lists(DATASET_INPUTS, max_size=2), st.lists(MODEL_IDS, min_size=1, max_size=2))
def test_inputs_reach_mlflow_whole(used: list[client.DatasetInput], model_ids: list[str]) -> None:
    request = run_service_pb2.LogInputsRequest(
        datasets=[_convert.dataset_input_to_proto(one) for one in used]
    )
    for model_id in model_ids:
        request.models.add(model_id=model_id)
    datasets, models = runs.inputs(sent(request))
    again = [
        client.DatasetInput(
            client.Dataset(**{**dict(one.dataset), **_filled(one.dataset)}),
            {tag.key: tag.value for tag in one.tags},
        )
        for one in datasets
    ]
    assert again == used
    assert [one.model_id for one in models] == model_ids


def _filled(dataset: mlflow.Dataset) -> dict[str, str]:
    """The optional parts of a dataset, which are None to MLflow when they are empty."""
    return {"schema": dataset.schema or "", "profile": dataset.profile or ""}
