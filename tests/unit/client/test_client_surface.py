"""The client's methods against the services' descriptors, both ways."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import mlflow_grpc
from mlflow_grpc import (
    ActiveRun,
    AsyncActiveRun,
    AsyncClient,
    Client,
    Dataset,
    DatasetInput,
    LoggedModelInput,
    Metric,
)
from mlflow_grpc._aio.base import AsyncCaller
from mlflow_grpc._sync.base import Caller
from mlflow_grpc.v1 import experiment_service_pb2
from mlflow_grpc.v1.model_serving_service_pb2 import (
    SERVED_MODEL_STATE_READY,
    ServedModel,
    Tensor,
    WatchServedModelResponse,
)
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import METHODS, FakeServer

FULL_METRIC = Metric("k", 1.5, 2, 3, "m-1", "d", "x")
USED = DatasetInput(Dataset("n", "d", "t", "s", "c", "p"), {"a": "b"})
SEARCH = {"filter_string": "f", "order_by": ["o"], "page_size": 7}


def _save(buffer: BinaryIO, format: str) -> None:
    buffer.write(format.encode())


# Each method: arguments that leave no field of a request unset, and the RPCs that it calls.
SURFACE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "create_experiment": (
        {"name": "n", "artifact_location": "l", "tags": {"a": "b"}, "description": "d"},
        ["CreateExperiment"],
    ),
    "get_experiment": ({"experiment_id": "1"}, ["GetExperiment"]),
    "get_experiment_by_name": ({"name": "n"}, ["GetExperimentByName"]),
    "search_experiments": ({**SEARCH, "view_type": "all"}, ["ListExperiments"] * 2),
    "update_experiment": (
        {"experiment_id": "1", "name": "n", "description": "d"},
        ["UpdateExperiment"],
    ),
    "rename_experiment": ({"experiment_id": "1", "new_name": "n"}, ["UpdateExperiment"]),
    "delete_experiment": ({"experiment_id": "1"}, ["DeleteExperiment"]),
    "restore_experiment": ({"experiment_id": "1"}, ["RestoreExperiment"]),
    "set_experiment_tag": (
        {"experiment_id": "1", "key": "k", "value": 5},
        ["SetExperimentTag"],
    ),
    "delete_experiment_tag": ({"experiment_id": "1", "key": "k"}, ["DeleteExperimentTag"]),
    "create_run": (
        {
            "experiment_id": "1",
            "start_time": 1234,
            "tags": {"a": "b"},
            "run_name": "n",
            "description": "d",
        },
        ["StartRun"],
    ),
    "start_run": (
        {"experiment_name": "n", "run_name": "r", "start_time": 1},
        ["GetExperimentByName", "StartRun"],
    ),
    "end_run": ({"run_id": "r", "status": "FAILED", "end_time": 1234}, ["EndRun"]),
    "set_terminated": ({"run_id": "r", "status": "KILLED", "end_time": 1234}, ["EndRun"]),
    "get_run": ({"run_id": "r"}, ["GetRun"]),
    "search_runs": (
        {**SEARCH, "experiment_ids": "1", "run_view_type": "all"},
        ["SearchRuns"] * 2,
    ),
    "log_metric": (
        {
            "run_id": "r",
            "key": "k",
            "value": 1.5,
            "timestamp": 2,
            "step": 3,
            "dataset_name": "d",
            "dataset_digest": "x",
            "model_id": "m-1",
        },
        ["LogMetrics"],
    ),
    "log_metrics": ({"run_id": "r", "metrics": [FULL_METRIC]}, ["LogMetrics"]),
    "log_param": ({"run_id": "r", "key": "k", "value": 1}, ["LogParams"]),
    "log_params": ({"run_id": "r", "params": {"k": 1}}, ["LogParams"]),
    "set_tag": ({"run_id": "r", "key": "k", "value": 1}, ["SetTags"]),
    "set_tags": ({"run_id": "r", "tags": {"k": 1}}, ["SetTags"]),
    "delete_tag": ({"run_id": "r", "key": "k"}, ["DeleteTag"]),
    "log_batch": (
        {"run_id": "r", "metrics": [FULL_METRIC], "params": {"k": 1}, "tags": {"k": 1}},
        ["LogBatch"],
    ),
    "log_inputs": (
        {"run_id": "r", "datasets": [USED], "models": [LoggedModelInput("m-1")]},
        ["LogInputs"],
    ),
    "log_artifact": (
        {"run_id": "r", "local_path": __file__, "artifact_path": "a"},
        ["LogArtifacts"],
    ),
    "log_artifacts": ({"run_id": "r", "local_dir": Path(__file__).parent}, ["LogArtifacts"]),
    "log_text": ({"run_id": "models:/m-1", "text": "t", "artifact_file": "f"}, ["LogArtifacts"]),
    "log_dict": ({"run_id": "r", "dictionary": {}, "artifact_file": "f"}, ["LogArtifacts"]),
    "log_figure": (
        {"run_id": "r", "figure": SimpleNamespace(savefig=_save), "artifact_file": "f.png"},
        ["LogArtifacts"],
    ),
    "log_image": (
        {"run_id": "r", "image": SimpleNamespace(save=_save), "artifact_file": "f.png"},
        ["LogArtifacts"],
    ),
    "list_artifacts": (
        {"run_id": "r", "path": "p", "recursive": True, "page_size": 7},
        ["ListArtifacts"] * 2,
    ),
    "get_artifact_upload": (
        {"run_id": "r", "path": "p", "upload_id": "u"},
        ["GetArtifactUpload"],
    ),
    "download_artifacts": (
        {"run_id": "models:/m/1", "path": "p"},
        ["ListArtifacts"] * 2,
    ),
    "read_artifact": (
        {"run_id": "models:/m/1", "path": "p", "offset": 1, "length": 2},
        ["DownloadArtifact"],
    ),
    "log_dataset": (
        {"run_id": "r", "data": __file__, "context": "training", "source": "s3://b/c"},
        ["LogInputs"],
    ),
    "compare_runs": ({"run_ids": ["r", "s"], "goals": {"k": "minimize"}}, ["CompareRuns"]),
    "get_metric_history": (
        {"run_id": "r", "key": "k", "page_size": 7},
        ["GetMetricHistory"] * 2,
    ),
    "watch_run": (
        {"run_id": "r", "metric_keys": ["k"], "include_history": True},
        ["WatchRun"],
    ),
    "update_run": (
        {"run_id": "r", "status": "RUNNING", "name": "n", "description": "d"},
        ["UpdateRun"],
    ),
    "delete_run": ({"run_id": "r"}, ["DeleteRun"]),
    "restore_run": ({"run_id": "r"}, ["RestoreRun"]),
    "create_registered_model": (
        {"name": "n", "tags": {"a": "b"}, "description": "d"},
        ["CreateRegisteredModel"],
    ),
    "get_registered_model": ({"name": "n"}, ["GetRegisteredModel"]),
    "search_registered_models": (SEARCH, ["ListRegisteredModels"] * 2),
    "update_registered_model": ({"name": "n", "description": "d"}, ["UpdateRegisteredModel"]),
    "rename_registered_model": ({"name": "n", "new_name": "m"}, ["RenameRegisteredModel"]),
    "delete_registered_model": ({"name": "n"}, ["DeleteRegisteredModel"]),
    "set_registered_model_tag": (
        {"name": "n", "key": "k", "value": 1},
        ["SetRegisteredModelTag"],
    ),
    "delete_registered_model_tag": ({"name": "n", "key": "k"}, ["DeleteRegisteredModelTag"]),
    "set_registered_model_alias": (
        {"name": "n", "alias": "a", "version": 1},
        ["SetRegisteredModelAlias"],
    ),
    "delete_registered_model_alias": (
        {"name": "n", "alias": "a"},
        ["DeleteRegisteredModelAlias"],
    ),
    "get_model_version_by_alias": ({"name": "n", "alias": "a"}, ["GetModelVersionByAlias"]),
    "register_model": (
        {
            "name": "n",
            "source": "s",
            "run_id": "r",
            "tags": {"a": "b"},
            "run_link": "l",
            "description": "d",
            "model_id": "m-1",
        },
        ["RegisterModel"],
    ),
    "search_model_versions": ({**SEARCH, "name": "n"}, ["ListModelVersions"] * 2),
    "get_model_version": ({"name": "n", "version": "1"}, ["GetModelVersion"]),
    "update_model_version": (
        {"name": "n", "version": 1, "description": "d"},
        ["UpdateModelVersion"],
    ),
    "delete_model_version": ({"name": "n", "version": 1}, ["DeleteModelVersion"]),
    "transition_model_version_stage": (
        {"name": "n", "version": 1, "stage": "production", "archive_existing_versions": True},
        ["TransitionModelVersionStage"],
    ),
    "set_model_version_tag": (
        {"name": "n", "version": 1, "key": "k", "value": 1},
        ["SetModelVersionTag"],
    ),
    "delete_model_version_tag": (
        {"name": "n", "version": 1, "key": "k"},
        ["DeleteModelVersionTag"],
    ),
    "copy_model_version": (
        {"name": "n", "version": 1, "dst_name": "m"},
        ["CopyModelVersion"],
    ),
    "deploy_model": (
        {
            "name": "n",
            "model": "models:/m/1",
            "replicas": 2,
            "environment": {"A": "b"},
            "memory_limit_bytes": 1,
            "predict_timeout": 0.5,
            "concurrency": 2,
            "max_batch_calls": 2,
            "wait_until_ready": True,
        },
        ["DeployModel"],
    ),
    "list_served_models": ({}, ["ListServedModels"]),
    "get_served_model": ({"name": "n"}, ["GetServedModel"]),
    "watch_served_model": ({"name": "n"}, ["WatchServedModel"]),
    "wait_until_model_ready": ({"name": "n"}, ["WatchServedModel"]),
    "predict": ({"name": "n", "data": [1]}, ["Predict"]),
    "predict_stream": ({"name": "n", "data": [1], "params": {"a": 1}}, ["PredictStream"]),
    "undeploy_model": ({"name": "n"}, ["UndeployModel"]),
    "get_health": ({}, ["GetHealth"]),
    "get_server_info": ({}, ["GetServerInfo"]),
    "get_version": ({}, ["GetVersion"]),
}
LOCAL = {"close", "flush", "stats", "wait_until_ready"}
# What a method sends instead of what it sends above.
ALSO: list[tuple[str, dict[str, Any]]] = [
    ("deploy_model", {"name": "n", "model": {"models:/m/1": 1, "models:/m/2": 2}}),
]
# What a run streams in the background.
STREAMED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "log_metric": (
        {
            "key": "k",
            "value": 1.5,
            "timestamp": 2,
            "step": 3,
            "dataset_name": "d",
            "dataset_digest": "x",
            "model_id": "m-1",
        },
        ["StreamMetrics"],
    ),
    "log_metrics": ({"metrics": [FULL_METRIC]}, ["StreamMetrics"]),
}
NEVER_SENT = {
    # The client knows a run by its id alone. Metrics are all that streams.
    "EndRunRequest.experiment_id",
    "ArtifactChunk.offset",
    "ArtifactChunk.upload_id",
    "GetArtifactUploadRequest.model_uri",
    "DownloadArtifactRequest.run_id",
    "StreamMetricsRequest.params",
    "StreamMetricsRequest.tags",
    # These take numpy and pandas; the integration tests send them.
    "PredictRequest.tensors",
    "PredictRequest.arrow",
    "PredictRequest.params",
    *(f"Tensor.{field.name}" for field in Tensor.DESCRIPTOR.fields),
    "Tensors.tensors",
}


def _public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def test_every_rpc_is_called_by_a_method() -> None:
    surface = [*SURFACE.values(), *STREAMED.values()]
    assert {rpc for _, rpcs in surface for rpc in rpcs} == set(METHODS)


@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_every_public_method_is_declared(cls: type) -> None:
    assert _public(cls) == set(SURFACE) | LOCAL


@pytest.mark.parametrize("name", STREAMED)
async def test_a_run_streams(name: str, server: FakeServer, driver: Driver) -> None:
    run = await driver.call("start_run")
    arguments, rpcs = STREAMED[name]
    server.calls.clear()
    await driver.call(name, on=run, **arguments)
    await driver.call("flush", on=run)
    assert [call.method for call in server.calls] == rpcs


@pytest.mark.parametrize("name", SURFACE)
async def test_method_calls_its_rpcs(
    name: str, server: FakeServer, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    for caller in (Caller, AsyncCaller):
        real = caller._stub

        def spy(self: Any, method: Any, real: Any = real) -> Any:
            decoded.append((method.path, method.decode(b"").DESCRIPTOR.full_name))
            return real(self, method)

        monkeypatch.setattr(caller, "_stub", spy)
    arguments, rpcs = SURFACE[name]
    for rpc in rpcs:
        _answer_with_two_pages(server, rpc)

    await driver.call(name, **arguments)

    assert [call.method for call in server.calls] == rpcs
    assert [(path.rpartition("/")[2], response) for path, response in decoded] == [
        (rpc, METHODS[rpc].output_type.full_name) for rpc in rpcs
    ]


def _answer_with_two_pages(server: FakeServer, rpc: str) -> None:
    if rpc == "WatchServedModel":
        ready = ServedModel(state=SERVED_MODEL_STATE_READY)
        server.answers[rpc] = lambda request, context: WatchServedModelResponse(served_model=ready)
    response = GetMessageClass(METHODS[rpc].output_type)
    if rpc == "LogArtifacts":
        server.answers[rpc] = lambda request, context: response(
            artifacts=[{"path": c.path, "sha256": c.sha256} for c in request.chunks]
        )
    if "next_page_token" in response.DESCRIPTOR.fields_by_name:
        server.answers[rpc] = lambda request, context: response(
            next_page_token="" if request.page_token else "t"
        )


async def test_every_field_of_every_request_can_be_set(server: FakeServer, driver: Driver) -> None:
    for name, (arguments, rpcs) in SURFACE.items():
        for rpc in rpcs:
            _answer_with_two_pages(server, rpc)
        await driver.call(name, **arguments)
    for name, arguments in ALSO:
        await driver.call(name, **arguments)
    await driver.call("watch_run", "r", cursor="c")
    server.answers["StartRun"] = lambda request, context: experiment_service_pb2.StartRunResponse(
        run={"info": {"run_id": "r"}}
    )
    run = await driver.call("start_run")
    for name, (arguments, _) in STREAMED.items():
        await driver.call(name, on=run, **arguments)
    await driver.call("flush", on=run)

    seen: set[str] = set()
    for call in server.calls:
        _collect(call.request, seen)
    expected: set[str] = set()
    for method in METHODS.values():
        _declared(method.input_type, expected)
    assert seen == expected - NEVER_SENT


def _collect(message: Message, seen: set[str]) -> None:
    """The fields that are set, here and below."""
    for field, value in message.ListFields():
        seen.add(f"{message.DESCRIPTOR.name}.{field.name}")
        if field.message_type is None or field.message_type.file.package != "mlflow_grpc.v1":
            continue
        if field.message_type.GetOptions().map_entry:
            continue
        for item in value if hasattr(value, "append") or hasattr(value, "add") else [value]:
            _collect(item, seen)


def _declared(descriptor: Any, names: set[str]) -> None:
    for field in descriptor.fields:
        names.add(f"{descriptor.name}.{field.name}")
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if field.message_type.file.package == "mlflow_grpc.v1":
            _declared(field.message_type, names)


SAME = {
    "AsyncIterator": "Iterator",
    "AsyncClient": "Client",
    "AsyncActiveRun": "ActiveRun",
    "StartingRun": "ActiveRun",
}


@pytest.mark.parametrize(
    ("sync", "aio"),
    [(Client, AsyncClient), (ActiveRun, AsyncActiveRun)],
    ids=["client", "active run"],
)
def test_both_clients_have_the_same_signatures(sync: type, aio: type) -> None:
    assert _public(sync) == _public(aio)
    for name in sorted(_public(sync) | {"__init__"}):
        ours, theirs = getattr(sync, name), getattr(aio, name)
        assert ours.__doc__ or name == "__init__", name
        if isinstance(ours, property):
            ours, theirs = ours.fget, theirs.fget
        here, there = inspect.signature(ours), inspect.signature(theirs)
        if name != "__init__" or sync is Client:
            assert list(here.parameters.values()) == list(there.parameters.values()), name
        returned = there.return_annotation
        for asynchronous, blocking in SAME.items():
            returned = returned.replace(asynchronous, blocking)
        assert here.return_annotation == returned, name


@pytest.mark.parametrize("name", sorted(set(SURFACE) - {"start_run"}))
def test_both_clients_have_the_same_docstrings(name: str) -> None:
    assert getattr(Client, name).__doc__ == getattr(AsyncClient, name).__doc__


def test_all_is_what_the_package_offers() -> None:
    offered = {
        name
        for name, value in vars(mlflow_grpc).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(mlflow_grpc.__all__) == offered
    assert list(mlflow_grpc.__all__) == sorted(mlflow_grpc.__all__)
