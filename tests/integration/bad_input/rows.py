"""What the rows of bad input are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

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
