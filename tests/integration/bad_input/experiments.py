"""Bad input for experiments, and for lists of anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.integration.bad_input.rows import (
    ABSENT,
    EXISTS,
    INVALID,
    LONG,
    NO_EXPERIMENT,
    PRECONDITION,
    Row,
    World,
    tag,
)


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
    *[
        (
            "CreateExperiment",
            lambda w, u=location: {"name": "n", "artifactLocation": u},
            INVALID,
            "artifact_location",
        )
        for location in ("file://host/x", "file://[x", "s3://[x")
    ],
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
]

ROWS = [*experiment_id_rows(), *list_rows(), *OWN_ROWS]
