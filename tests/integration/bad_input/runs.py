"""Bad input for runs and their artifacts."""

from __future__ import annotations

from typing import Any

import grpc

from tests.integration.bad_input.rows import (
    ABSENT,
    INVALID,
    NO_EXPERIMENT,
    NO_MODEL_ID,
    NO_RUN,
    PRECONDITION,
    Row,
    chunk,
    dataset,
    metric,
    param,
    tag,
)


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


OWN_ROWS: list[Row] = [
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
]

ROWS = [*run_id_rows(), *OWN_ROWS]
