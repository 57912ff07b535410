"""Bad input for served models."""

from __future__ import annotations

from typing import Any

from tests.integration.bad_input.rows import (
    ABSENT,
    INVALID,
    LONG,
    Row,
)


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
        ({"modelUri": "models://[x"}, "model_uri"),
        ({"modelUri": "runs:/" + "0" * 32}, "model_uri"),
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


ROWS = serving_rows()
