"""Every RPC with every kind of bad input: the right status, the field's name, no stored change."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import sqlalchemy
from google.api import field_behavior_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.conftest import Served
from tests.rpc import Failure, Rpcs, describe, methods
from tests.servers import ServerProcess

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ABSENT = grpc.StatusCode.NOT_FOUND
EXISTS = grpc.StatusCode.ALREADY_EXISTS
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION

NO_EXPERIMENT = "999999"
NO_RUN = "0" * 32
NO_MODEL_ID = "m-" + "0" * 32
LONG = "x" * 200_001


@dataclass(frozen=True)
class World:
    """What the rows of the matrix speak of."""

    name: str
    experiment: str
    deleted_experiment: str
    run: str
    deleted_run: str
    model: str
    other_model: str
    page_token: str


Row = tuple[str, Callable[[World], dict[str, Any]], grpc.StatusCode, str]


def metric(**changes: Any) -> dict[str, Any]:
    return {"metrics": [{"key": "m", "value": 1.0, "timestampMs": "1", **changes}]}


def param(key: str = "p", value: str = "v") -> dict[str, Any]:
    return {"params": [{"key": key, "value": value}]}


def tag(key: str = "t", value: str = "v") -> dict[str, Any]:
    return {"tags": [{"key": key, "value": value}]}


def dataset(**changes: Any) -> dict[str, Any]:
    whole = {"name": "d", "digest": "1", "sourceType": "local", "source": "s"}
    return {"datasets": [{"dataset": {**whole, **changes}}]}


def chunk(**changes: Any) -> dict[str, Any]:
    empty = hashlib.sha256().hexdigest()
    return {"chunks": [{"path": "p", "sha256": empty, **changes}]}


def experiment_id_rows() -> list[Row]:
    """Malformed and unknown experiment ids, wherever one is asked for."""
    rest: dict[str, dict[str, Any]] = {
        "GetExperiment": {},
        "UpdateExperiment": {"name": "n"},
        "DeleteExperiment": {},
        "RestoreExperiment": {},
        "SetExperimentTag": {"key": "k"},
        "DeleteExperimentTag": {"key": "k"},
        "StartRun": {},
    }
    rows: list[Row] = []
    for rpc, more in rest.items():
        for bad in ("one", "-1", "1" * 19, "\u0661", "1\n", "1;drop"):
            rows.append(
                (rpc, lambda w, b=bad, m=more: {"experimentId": b, **m}, INVALID, "experiment_id")
            )
        rows.append((rpc, lambda w, m=more: {"experimentId": NO_EXPERIMENT, **m}, ABSENT, ""))
    return rows


def run_id_rows() -> list[Row]:
    """Malformed, unknown and deleted runs, wherever a run is asked for."""
    reads: dict[str, dict[str, Any]] = {
        "GetRun": {},
        "GetMetricHistory": {"metricKey": "m"},
        "ListArtifacts": {},
        "DownloadArtifact": {},
    }
    writes: dict[str, dict[str, Any]] = {
        "EndRun": {},
        "LogParams": param(),
        "LogMetrics": metric(),
        "LogBatch": {**metric(), **param(), **tag()},
        "LogInputs": dataset(),
        "LogArtifacts": chunk(),
        "GetArtifactUpload": {"path": "p", "uploadId": "u"},
        "SetTags": tag(),
        "DeleteTag": {"key": "mlflow.runName"},
        "UpdateRun": {"runName": "n"},
        "DeleteRun": {},
    }
    rows: list[Row] = []
    for rpc, more in {**reads, **writes, "RestoreRun": {}}.items():
        for bad in ("a/b", "../../etc", "x" * 257, "run\n", "ü", "-a"):
            rows.append((rpc, lambda w, b=bad, m=more: {"runId": b, **m}, INVALID, "run_id"))
        rows.append((rpc, lambda w, m=more: {"runId": NO_RUN, **m}, ABSENT, ""))
    for rpc, more in writes.items():
        rows.append((rpc, lambda w, m=more: {"runId": w.deleted_run, **m}, PRECONDITION, ""))
    return rows


def model_rows() -> list[Row]:
    """Malformed and unknown registered models and versions, wherever one is asked for."""
    of_model: dict[str, dict[str, Any]] = {
        "GetRegisteredModel": {},
        "UpdateRegisteredModel": {"description": "d"},
        "RenameRegisteredModel": {"newName": "fresh"},
        "DeleteRegisteredModel": {},
        "SetRegisteredModelTag": {"key": "k"},
        "DeleteRegisteredModelTag": {"key": "k"},
        "DeleteRegisteredModelAlias": {"alias": "a"},
        "GetModelVersionByAlias": {"alias": "a"},
        "ListModelVersions": {},
    }
    of_version: dict[str, dict[str, Any]] = {
        "GetModelVersion": {},
        "UpdateModelVersion": {"description": "d"},
        "DeleteModelVersion": {},
        "TransitionModelVersionStage": {"stage": "MODEL_VERSION_STAGE_STAGING"},
        "SetModelVersionTag": {"key": "k"},
        "DeleteModelVersionTag": {"key": "k"},
        "CopyModelVersion": {"destinationName": "copy"},
        "SetRegisteredModelAlias": {"alias": "a"},
    }
    rows: list[Row] = []
    for rpc, more in {
        **of_model,
        **{k: {"version": "1", **v} for k, v in of_version.items()},
    }.items():
        for bad in ("a/b", "a:b", "..", "x" * 257, "a\0b"):
            rows.append((rpc, lambda w, b=bad, m=more: {"name": b, **m}, INVALID, "name"))
        rows.append((rpc, lambda w, m=more: {"name": "no such modèl", **m}, ABSENT, ""))
    for rpc, more in of_version.items():
        for bad in ("", "0", "-1", "one", "1.0", "9" * 12, "1\n"):
            rows.append(
                (
                    rpc,
                    lambda w, b=bad, m=more: {"name": w.model, "version": b, **m},
                    INVALID,
                    "version",
                )
            )
        rows.append((rpc, lambda w, m=more: {"name": w.model, "version": "7", **m}, ABSENT, ""))
    return rows


def list_rows() -> list[Row]:
    """Bad pages, filters and orders, wherever a list is asked for."""
    lists: dict[str, Callable[[World], dict[str, Any]]] = {
        "ListExperiments": lambda w: {},
        "SearchRuns": lambda w: {"experimentIds": [w.experiment]},
        "ListRegisteredModels": lambda w: {},
        "ListModelVersions": lambda w: {"name": w.model},
        "GetMetricHistory": lambda w: {"runId": w.run, "metricKey": "m"},
    }
    tokens = ("x", "e30=", "W10=", "bnVsbA==", "////", "é")
    rows: list[Row] = []
    for rpc, base in lists.items():
        rows.append((rpc, lambda w, b=base: {**b(w), "pageSize": -1}, INVALID, "page_size"))
        rows.append(
            (rpc, lambda w, b=base: {**b(w), "pageToken": w.page_token}, INVALID, "page_token")
        )
        for bad in tokens:
            rows.append(
                (rpc, lambda w, b=base, t=bad: {**b(w), "pageToken": t}, INVALID, "page_token")
            )
        if rpc == "GetMetricHistory":
            continue
        for bad in (
            "name = ",
            "((((",
            "name == 'a' OR",
            "nonsense",
            "a.b.c = 1",
            "name = 'a\0'",
            "'",
        ):
            rows.append((rpc, lambda w, b=base, f=bad: {**b(w), "filter": f}, INVALID, "filter"))
        for bad in ("name SIDEWAYS", "nonsense.x", "", "; drop table runs", "tags."):
            rows.append(
                (rpc, lambda w, b=base, o=bad: {**b(w), "orderBy": [o]}, INVALID, "order_by[0]")
            )
    return rows


OWN_ROWS: list[Row] = [
    # Experiments.
    ("CreateExperiment", lambda w: {"name": w.name}, EXISTS, ""),
    ("CreateExperiment", lambda w: {"name": "x" * 257}, INVALID, "name"),
    ("CreateExperiment", lambda w: {"name": "a\0b"}, INVALID, "name"),
    ("CreateExperiment", lambda w: {"name": "n", **tag("a/../b")}, INVALID, "tags[0].key"),
    ("CreateExperiment", lambda w: {"name": "n", **tag("k", LONG)}, INVALID, "tags[0].value"),
    ("CreateExperiment", lambda w: {"name": "n", **tag("x" * 251)}, INVALID, "tags[0].key"),
    ("CreateExperiment", lambda w: {"name": "n", "description": LONG}, INVALID, "description"),
    (
        "CreateExperiment",
        lambda w: {"name": "n", "artifactLocation": "runs:/a"},
        INVALID,
        "artifact_location",
    ),
    (
        "CreateExperiment",
        lambda w: {"name": "n", "artifactLocation": "s3://b/c#d"},
        INVALID,
        "artifact_location",
    ),
    ("GetExperimentByName", lambda w: {"name": "no such/exp\u00e9riment"}, ABSENT, ""),
    ("GetExperimentByName", lambda w: {"name": "x" * 257}, INVALID, "name"),
    ("UpdateExperiment", lambda w: {"experimentId": w.experiment}, INVALID, "name"),
    ("UpdateExperiment", lambda w: {"experimentId": w.experiment, "name": ""}, INVALID, "name"),
    ("UpdateExperiment", lambda w: {"experimentId": w.experiment, "name": "Default"}, EXISTS, ""),
    (
        "UpdateExperiment",
        lambda w: {"experimentId": w.deleted_experiment, "name": "n"},
        PRECONDITION,
        "",
    ),
    ("DeleteExperiment", lambda w: {"experimentId": w.deleted_experiment}, PRECONDITION, ""),
    ("RestoreExperiment", lambda w: {"experimentId": w.experiment}, PRECONDITION, ""),
    (
        "SetExperimentTag",
        lambda w: {"experimentId": w.deleted_experiment, "key": "k"},
        PRECONDITION,
        "",
    ),
    ("SetExperimentTag", lambda w: {"experimentId": w.experiment, "key": "/"}, INVALID, "key"),
    (
        "SetExperimentTag",
        lambda w: {"experimentId": w.experiment, "key": "k", "value": LONG},
        INVALID,
        "value",
    ),
    (
        "DeleteExperimentTag",
        lambda w: {"experimentId": w.deleted_experiment, "key": "k"},
        PRECONDITION,
        "",
    ),
    ("DeleteExperimentTag", lambda w: {"experimentId": w.experiment, "key": "absent"}, ABSENT, ""),
    ("ListExperiments", lambda w: {"viewType": 9}, INVALID, "view_type"),
    ("ListExperiments", lambda w: {"orderBy": ["name", "name DESC"]}, INVALID, "order_by[1]"),
    ("StartRun", lambda w: {"experimentId": w.deleted_experiment}, PRECONDITION, ""),
    (
        "StartRun",
        lambda w: {"experimentId": w.experiment, "runName": "x" * 251},
        INVALID,
        "run_name",
    ),
    ("StartRun", lambda w: {"experimentId": w.experiment, **tag("a//b")}, INVALID, "tags[0].key"),
    (
        "StartRun",
        lambda w: {"experimentId": w.experiment, "startTime": "1969-12-31T00:00:00Z"},
        INVALID,
        "start_time",
    ),
    (
        "StartRun",
        lambda w: {"experimentId": w.experiment, "runName": "a", **tag("mlflow.runName", "b")},
        INVALID,
        "run_name",
    ),
    ("EndRun", lambda w: {"runId": w.run, "status": "RUN_STATUS_RUNNING"}, INVALID, "status"),
    ("EndRun", lambda w: {"runId": w.run, "status": 99}, INVALID, "status"),
    ("EndRun", lambda w: {"runId": w.run, "experimentId": "0"}, ABSENT, ""),
    ("EndRun", lambda w: {"runId": w.run, "experimentId": "zero"}, INVALID, "experiment_id"),
    # Runs.
    ("SearchRuns", lambda w: {"experimentIds": [w.experiment, "x"]}, INVALID, "experiment_ids[1]"),
    ("SearchRuns", lambda w: {"experimentIds": [NO_EXPERIMENT]}, ABSENT, ""),
    (
        "SearchRuns",
        lambda w: {"experimentIds": ["0"], "filter": "metrics.m > 'x'"},
        INVALID,
        "filter",
    ),
    ("SearchRuns", lambda w: {"experimentIds": ["0"], "filter": "x" * 65_537}, INVALID, "filter"),
    (
        "LogParams",
        lambda w: {"runId": w.run, **param("p", "changed")},
        PRECONDITION,
        "params[0].value",
    ),
    ("LogParams", lambda w: {"runId": w.run, **param("x" * 251)}, INVALID, "params[0].key"),
    ("LogParams", lambda w: {"runId": w.run, **param("q", "x" * 6001)}, INVALID, "params[0].value"),
    ("LogParams", lambda w: {"runId": w.run, **param("q", "\0")}, INVALID, "params[0].value"),
    (
        "LogParams",
        lambda w: {"runId": w.run, "params": [{"key": "q"}] * 2},
        INVALID,
        "params[1].key",
    ),
    ("LogParams", lambda w: {"runId": w.run, "params": [{"key": "q"}] * 101}, INVALID, "params"),
    ("LogMetrics", lambda w: {"runId": w.run, **metric(key="")}, INVALID, "metrics[0].key"),
    ("LogMetrics", lambda w: {"runId": w.run, **metric(key="a*b")}, INVALID, "metrics[0].key"),
    ("LogMetrics", lambda w: {"runId": w.run, **metric(key="../a")}, INVALID, "metrics[0].key"),
    ("LogMetrics", lambda w: {"runId": w.run, **metric(key="x" * 251)}, INVALID, "metrics[0].key"),
    (
        "LogMetrics",
        lambda w: {"runId": w.run, "metrics": [{"key": "m"}]},
        INVALID,
        "metrics[0].value",
    ),
    (
        "LogMetrics",
        lambda w: {"runId": w.run, **metric(timestampMs="-1")},
        INVALID,
        "metrics[0].timestamp_ms",
    ),
    (
        "LogMetrics",
        lambda w: {"runId": w.run, **metric(datasetName="d")},
        INVALID,
        "metrics[0].dataset_name",
    ),
    (
        "LogMetrics",
        lambda w: {"runId": w.run, **metric(modelId="x")},
        INVALID,
        "metrics[0].model_id",
    ),
    ("LogMetrics", lambda w: {"runId": w.run, **metric(modelId=NO_MODEL_ID)}, ABSENT, ""),
    (
        "LogMetrics",
        lambda w: {"runId": w.run, "metrics": metric()["metrics"] * 1001},
        INVALID,
        "metrics",
    ),
    (
        "LogBatch",
        lambda w: {"runId": w.run, **metric(), **tag(""), **param("q")},
        INVALID,
        "tags[0].key",
    ),
    (
        "LogBatch",
        lambda w: {"runId": w.run, **metric(key="new"), **tag("new"), **param("p", "changed")},
        PRECONDITION,
        "params[0].value",
    ),
    (
        "LogBatch",
        lambda w: {"runId": w.run, **metric(modelId=NO_MODEL_ID), **param("q")},
        ABSENT,
        "",
    ),
    ("LogInputs", lambda w: {"runId": w.run}, INVALID, "datasets"),
    ("LogInputs", lambda w: {"runId": w.run, "datasets": [{}]}, INVALID, "datasets[0].dataset"),
    (
        "LogInputs",
        lambda w: {"runId": w.run, **dataset(name="")},
        INVALID,
        "datasets[0].dataset.name",
    ),
    (
        "LogInputs",
        lambda w: {"runId": w.run, **dataset(digest="x" * 37)},
        INVALID,
        "datasets[0].dataset.digest",
    ),
    (
        "LogInputs",
        lambda w: {"runId": w.run, **dataset(source="x" * 65_536)},
        INVALID,
        "datasets[0].dataset.source",
    ),
    (
        "LogInputs",
        lambda w: {"runId": w.run, "models": [{"modelId": NO_MODEL_ID}], **dataset()},
        ABSENT,
        "",
    ),
    ("SetTags", lambda w: {"runId": w.run, **tag("t", "x" * 8001)}, INVALID, "tags[0].value"),
    ("SetTags", lambda w: {"runId": w.run, "tags": [{"key": "a"}] * 2}, INVALID, "tags[1].key"),
    (
        "SetTags",
        lambda w: {"runId": w.run, **tag("mlflow.runName", "x" * 251)},
        INVALID,
        "tags[0].value",
    ),
    ("DeleteTag", lambda w: {"runId": w.run, "key": "absent"}, ABSENT, ""),
    ("UpdateRun", lambda w: {"runId": w.run}, INVALID, "run_name"),
    ("UpdateRun", lambda w: {"runId": w.run, "runName": "x" * 251}, INVALID, "run_name"),
    ("UpdateRun", lambda w: {"runId": w.run, "status": 77}, INVALID, "status"),
    ("RestoreRun", lambda w: {"runId": w.run}, PRECONDITION, ""),
    # Artifacts.
    ("ListArtifacts", lambda w: {"runId": w.run, "path": "absent"}, ABSENT, ""),
    ("ListArtifacts", lambda w: {"runId": w.run, "path": "../x"}, INVALID, "path"),
    ("ListArtifacts", lambda w: {"runId": w.run, "pageSize": -1}, INVALID, "page_size"),
    ("ListArtifacts", lambda w: {"modelUri": f"models:/{NO_MODEL_ID}"}, ABSENT, ""),
    ("ListArtifacts", lambda w: {"modelUri": "models:/absent/1"}, ABSENT, ""),
    ("ListArtifacts", lambda w: {"modelUri": f"models:/{w.model}@absent"}, ABSENT, ""),
    ("ListArtifacts", lambda w: {"modelUri": "s3://b/c"}, INVALID, "model_uri"),
    ("ListArtifacts", lambda w: {"modelUri": "models:/"}, INVALID, "model_uri"),
    ("DownloadArtifact", lambda w: {"runId": w.run, "paths": ["absent"]}, ABSENT, ""),
    ("DownloadArtifact", lambda w: {"runId": w.run, "paths": ["a", "/x"]}, INVALID, "paths[1]"),
    ("DownloadArtifact", lambda w: {"runId": w.run, "offset": "1"}, INVALID, "offset"),
    (
        "DownloadArtifact",
        lambda w: {"runId": w.run, "paths": ["a"], "length": "0"},
        INVALID,
        "length",
    ),
    (
        "DownloadArtifact",
        lambda w: {"runId": w.run, "paths": ["a"] * 10_001},
        INVALID,
        "paths",
    ),
    (
        "GetArtifactUpload",
        lambda w: {"runId": w.run, "path": "..", "uploadId": "u"},
        INVALID,
        "path",
    ),
    (
        "LogArtifacts",
        lambda w: {"modelUri": f"models:/{w.model}/1", **chunk()},
        INVALID,
        "model_uri",
    ),
    ("LogArtifacts", lambda w: {"runId": w.run, **chunk(path="")}, INVALID, "chunks[0].path"),
    ("LogArtifacts", lambda w: {"runId": w.run, **chunk(path="a/..")}, INVALID, "chunks[0].path"),
    ("LogArtifacts", lambda w: {"runId": w.run, **chunk(size="-1")}, INVALID, "chunks[0].size"),
    ("LogArtifacts", lambda w: {"runId": w.run, **chunk(size="1")}, INVALID, "chunks[0].size"),
    ("LogArtifacts", lambda w: {"runId": w.run, **chunk(offset="1")}, INVALID, "chunks[0].offset"),
    ("LogArtifacts", lambda w: {"runId": w.run, **chunk(sha256="x")}, INVALID, "chunks[0].sha256"),
    (
        "LogArtifacts",
        lambda w: {"runId": w.run, **chunk(uploadId="a/b")},
        INVALID,
        "chunks[0].upload_id",
    ),
    ("LogArtifacts", lambda w: {"runId": w.run, **chunk(sha256="")}, INVALID, "chunks"),
    (
        "LogArtifacts",
        lambda w: {"runId": w.run, **chunk(sha256="0" * 64)},
        grpc.StatusCode.DATA_LOSS,
        "",
    ),
    (
        "LogArtifacts",
        lambda w: {"runId": w.run, **chunk(uploadId="new", offset="7", size="9")},
        PRECONDITION,
        "",
    ),
    ("CompareRuns", lambda w: {"runIds": [w.run]}, INVALID, "run_ids"),
    ("CompareRuns", lambda w: {"runIds": [w.run, w.run]}, INVALID, "run_ids[1]"),
    ("CompareRuns", lambda w: {"runIds": [w.run, "a/b"]}, INVALID, "run_ids[1]"),
    ("CompareRuns", lambda w: {"runIds": [w.run, NO_RUN]}, ABSENT, ""),
    (
        "CompareRuns",
        lambda w: {"runIds": [w.run, w.deleted_run], "goals": {"m": 7}},
        INVALID,
        "goals",
    ),
    # The registry.
    ("CreateRegisteredModel", lambda w: {"name": w.model}, EXISTS, ""),
    ("CreateRegisteredModel", lambda w: {"name": "a/b"}, INVALID, "name"),
    ("CreateRegisteredModel", lambda w: {"name": " "}, INVALID, "name"),
    (
        "CreateRegisteredModel",
        lambda w: {"name": "n", "description": "x" * 5001},
        INVALID,
        "description",
    ),
    (
        "CreateRegisteredModel",
        lambda w: {"name": "n", **tag("k", "x" * 5001)},
        INVALID,
        "tags[0].value",
    ),
    (
        "UpdateRegisteredModel",
        lambda w: {"name": w.model, "description": "x" * 5001},
        INVALID,
        "description",
    ),
    ("RenameRegisteredModel", lambda w: {"name": w.model, "newName": w.other_model}, EXISTS, ""),
    ("RenameRegisteredModel", lambda w: {"name": w.model, "newName": "a:b"}, INVALID, "new_name"),
    (
        "SetRegisteredModelTag",
        lambda w: {"name": w.model, "key": "k", "value": LONG},
        INVALID,
        "value",
    ),
    ("DeleteRegisteredModelTag", lambda w: {"name": w.model, "key": "absent"}, ABSENT, ""),
    *[
        (
            "SetRegisteredModelAlias",
            lambda w, a=alias: {"name": w.model, "version": "1", "alias": a},
            INVALID,
            "alias",
        )
        for alias in ("", "a b", "a/b", "latest", "LATEST", "v1", "x" * 256, "a\n", "\u00e9\u00e9!")
    ],
    ("DeleteRegisteredModelAlias", lambda w: {"name": w.model, "alias": "absent"}, ABSENT, ""),
    ("GetModelVersionByAlias", lambda w: {"name": w.model, "alias": "absent"}, ABSENT, ""),
    ("GetModelVersionByAlias", lambda w: {"name": w.model, "alias": "a/b"}, INVALID, "alias"),
    ("RegisterModel", lambda w: {"name": "n"}, INVALID, "source"),
    ("RegisterModel", lambda w: {"name": "a/b", "source": "s3://b/c"}, INVALID, "name"),
    ("RegisterModel", lambda w: {"name": "n", "source": "/etc"}, INVALID, "source"),
    ("RegisterModel", lambda w: {"name": "n", "source": "/etc", "runId": w.run}, INVALID, "source"),
    (
        "RegisterModel",
        lambda w: {"name": "n", "source": "file:///etc", "runId": w.run},
        INVALID,
        "source",
    ),
    (
        "RegisterModel",
        lambda w: {"name": "n", "source": "mlflow-artifacts:/0/x"},
        INVALID,
        "source",
    ),
    ("RegisterModel", lambda w: {"name": "n", "source": "s3://b/../c"}, INVALID, "source"),
    (
        "RegisterModel",
        lambda w: {"name": "n", "source": f"runs:/{w.run}/../../x"},
        INVALID,
        "source",
    ),
    ("RegisterModel", lambda w: {"name": "n", "source": "runs:/"}, INVALID, "source"),
    ("RegisterModel", lambda w: {"name": "n", "source": "models:/"}, INVALID, "source"),
    ("RegisterModel", lambda w: {"name": "n", "source": f"runs:/{NO_RUN}/m"}, ABSENT, ""),
    ("RegisterModel", lambda w: {"name": "n", "source": f"models:/{NO_MODEL_ID}"}, ABSENT, ""),
    ("RegisterModel", lambda w: {"name": "n", "source": "models:/absent/1"}, ABSENT, ""),
    ("RegisterModel", lambda w: {"name": "n", "source": f"models:/{w.model}@absent"}, ABSENT, ""),
    (
        "RegisterModel",
        lambda w: {"name": "n", "source": f"runs:/{w.run}/m", "runId": NO_RUN},
        INVALID,
        "run_id",
    ),
    ("RegisterModel", lambda w: {"name": "n", "source": "s3://b/" + "x" * 500}, INVALID, "source"),
    ("ListModelVersions", lambda w: {"filter": "version_number > 'x'"}, INVALID, "filter"),
    *[
        (rpc, lambda w, m=more, c=column: {**m, "filter": f"{c} > {'9' * 20}"}, INVALID, "filter")
        for rpc, more, column in (
            ("ListExperiments", {}, "creation_time"),
            ("SearchRuns", {"experimentIds": ["0"]}, "attributes.start_time"),
            ("ListModelVersions", {}, "version_number"),
        )
    ],
    ("TransitionModelVersionStage", lambda w: {"name": w.model, "version": "1"}, INVALID, "stage"),
    (
        "TransitionModelVersionStage",
        lambda w: {"name": w.model, "version": "1", "stage": 42},
        INVALID,
        "stage",
    ),
    (
        "TransitionModelVersionStage",
        lambda w: {"name": w.model, "version": "1", "stage": 4, "archiveExistingVersions": True},
        INVALID,
        "archive_existing_versions",
    ),
    (
        "SetModelVersionTag",
        lambda w: {"name": w.model, "version": "1", "key": "k", "value": LONG},
        INVALID,
        "value",
    ),
    (
        "DeleteModelVersionTag",
        lambda w: {"name": w.model, "version": "1", "key": "absent"},
        ABSENT,
        "",
    ),
    (
        "CopyModelVersion",
        lambda w: {"name": w.model, "version": "1", "destinationName": "a/b"},
        INVALID,
        "destination_name",
    ),
]


def serving_rows() -> list[Row]:
    """Malformed and unknown served models, wherever one is asked for, and bad deployments."""
    rest: dict[str, dict[str, Any]] = {
        "GetServedModel": {},
        "WatchServedModel": {},
        "Predict": {"json": {"inputs": [1]}},
        "PredictStream": {"json": {"inputs": [1]}},
        "UndeployModel": {},
    }
    rows: list[Row] = []
    for rpc, more in rest.items():
        for bad in ("a/b", "-a", "x" * 251, "a b", "\u00e9", "a\n"):
            rows.append((rpc, lambda w, b=bad, m=more: {"name": b, **m}, INVALID, "name"))
        rows.append((rpc, lambda w, m=more: {"name": "absent", **m}, ABSENT, ""))
    deployments: list[tuple[dict[str, Any], str]] = [
        ({"name": "a/b"}, "name"),
        ({"modelUri": ""}, "model_uri"),
        ({"models": [{"modelUri": "models:/a/1", "weight": 1}]}, "model_uri"),
        ({"modelUri": "x" * 1001}, "model_uri"),
        ({"modelUri": "models:/"}, "model_uri"),
        ({"modelUri": "file:///etc"}, "model_uri"),
        ({"modelUri": "", "models": [{"weight": 1}]}, "models[0].model_uri"),
        ({"modelUri": "", "models": [{"modelUri": "models:/a/1"}]}, "models[0].weight"),
        (
            {"modelUri": "", "models": [{"modelUri": "models:/a/1", "weight": 1}] * 2},
            "models[1].model_uri",
        ),
        (
            {"modelUri": "", "models": [{"modelUri": "models:/a/1", "weight": 1}] * 11},
            "models",
        ),
        ({"replicas": -1}, "replicas"),
        ({"replicas": 65}, "replicas"),
        ({"concurrency": 65}, "concurrency"),
        ({"maxBatchCalls": 1001}, "max_batch_calls"),
        ({"memoryLimitBytes": "1"}, "memory_limit_bytes"),
        ({"memoryLimitBytes": "-1"}, "memory_limit_bytes"),
        ({"predictTimeout": "0s"}, "predict_timeout"),
        ({"predictTimeout": "3601s"}, "predict_timeout"),
        ({"environment": [{"name": "A=B"}]}, "environment[0].name"),
        ({"environment": [{"name": "A"}, {"name": "A"}]}, "environment[1].name"),
        ({"environment": [{"name": "A", "value": LONG}]}, "environment[0].value"),
        ({"environment": [{"name": "A"}] * 101}, "environment"),
    ]
    for change, field in deployments:
        rows.append(
            (
                "DeployModel",
                lambda w, c=change: {"name": "served", "modelUri": "models:/absent/1", **c},
                INVALID,
                field,
            )
        )
    absent = {"name": "served", "modelUri": "models:/absent/1"}
    rows.append(("DeployModel", lambda w: absent, ABSENT, ""))
    both = {"json": {"inputs": [1]}, "params": {"a": 1}}
    rows.append(("Predict", lambda w: {"name": "served", **both}, INVALID, "params"))
    rows.append(("Predict", lambda w: {"name": "served"}, INVALID, "json"))
    rows.append(("PredictStream", lambda w: {"name": "served"}, INVALID, "json"))
    return rows


ROWS = [
    *experiment_id_rows(),
    *run_id_rows(),
    *model_rows(),
    *list_rows(),
    *serving_rows(),
    *OWN_ROWS,
]


@dataclass(frozen=True)
class Store:
    """A server, and everything that its database holds."""

    rpcs: Rpcs
    dump: Callable[[], dict[str, list[str]]]


@pytest.fixture(
    scope="module",
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("mariadb", marks=pytest.mark.slow),
    ],
)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            served: Served = request.getfixturevalue("served")
            address, uri = served.address, served.backend_store_uri
        else:
            uri = request.getfixturevalue(request.param)
            folder = tmp_path_factory.mktemp("matrix")
            server = stack.enter_context(ServerProcess(folder, "--backend-store-uri", uri))
            address = server.address
        channel = stack.enter_context(grpc.insecure_channel(address))
        engine = sqlalchemy.create_engine(uri)
        stack.callback(engine.dispose)
        tables = sqlalchemy.MetaData()
        tables.reflect(engine)

        def dump() -> dict[str, list[str]]:
            with engine.connect() as connection:
                return {
                    table.name: sorted(map(repr, connection.execute(sqlalchemy.select(table))))
                    for table in tables.tables.values()
                }

        yield Store(Rpcs(channel), dump)


@pytest.fixture(scope="module")
def world(store: Store) -> World:
    rpcs = store.rpcs
    name = f"matrix-{uuid.uuid4().hex}"

    def experiment(suffix: str) -> str:
        return str(rpcs("CreateExperiment", name=name + suffix).experiment.experiment_id)

    def run(experiment_id: str) -> str:
        return str(rpcs("StartRun", experimentId=experiment_id).run.info.run_id)

    kept, deleted = experiment(""), experiment("-deleted")
    rpcs("DeleteExperiment", experimentId=deleted)
    run_id, deleted_run = run(kept), run(kept)
    rpcs("LogBatch", runId=run_id, **metric(), **param())
    rpcs("DeleteRun", runId=deleted_run)
    for suffix in ("", "-other"):
        rpcs("RegisterModel", name=name + suffix, source=f"runs:/{run_id}/model")
    token = rpcs("ListExperiments", pageSize=1, orderBy=["name"]).next_page_token
    return World(name, kept, deleted, run_id, deleted_run, name, name + "-other", token)


def check_is_described(failure: Failure) -> None:
    assert failure.domain == "mlflow-grpc"
    assert failure.reason == failure.reason.upper() != ""
    assert failure.metadata["request_id"] == failure.request_id != ""


@pytest.mark.parametrize(
    ("rpc", "request_of", "code", "field"),
    ROWS,
    ids=[f"{i}-{row[0]}" for i, row in enumerate(ROWS)],
)
def test_bad_input_is_named_and_stores_nothing(
    store: Store,
    world: World,
    rpc: str,
    request_of: Callable[[World], dict[str, Any]],
    code: grpc.StatusCode,
    field: str,
) -> None:
    before = store.dump()
    failure = store.rpcs.failure(rpc, **request_of(world))
    assert (failure.code, failure.fields) == (code, (field,) if field else ()), failure.message
    check_is_described(failure)
    assert store.dump() == before


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: str(method.name))
def test_an_empty_request_names_a_required_field(rpcs: Rpcs, method: Any) -> None:
    required = {
        field.name
        for field in method.input_type.fields
        if field_behavior_pb2.REQUIRED
        in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        or (field.containing_oneof is not None and field.containing_oneof.name == "owner")
    }
    message = GetMessageClass(method.input_type)()
    if not required:
        rpcs.send(method, message)
        return
    with pytest.raises(grpc.RpcError) as caught:
        rpcs.send(method, message)
    failure = describe(caught.value)
    assert failure.code is INVALID
    assert set(failure.fields) <= required
    check_is_described(failure)


@pytest.mark.parametrize("method", list(methods()), ids=lambda method: str(method.name))
def test_bytes_that_are_no_request_are_bad_input(served: Served, method: MethodDescriptor) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    with grpc.insecure_channel(served.address) as channel:
        # On the wire, one message of a stream is what a request alone is.
        call = channel.stream_stream(path)(iter([b"\xff\xff\xff\xff"]), timeout=30)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    failure = describe(caught.value)
    assert (failure.code, failure.reason) == (INVALID, "MALFORMED_REQUEST"), failure.message
    check_is_described(failure)


def test_every_request_field_says_whether_it_is_required() -> None:
    for method in methods():
        for field in method.input_type.fields:
            behavior = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
            assert list(behavior) in ([field_behavior_pb2.REQUIRED], [field_behavior_pb2.OPTIONAL])
