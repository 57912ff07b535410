"""Every method of a client, what to give it, and the RPCs that it calls."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

from mlflow_grpc import (
    Dataset,
    DatasetInput,
    LoggedModelInput,
    Metric,
)
from mlflow_grpc.v1.model_serving_service_pb2 import (
    Tensor,
)

__all__ = ["ALSO", "LOCAL", "NEVER_SENT", "STREAMED", "SURFACE"]

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
