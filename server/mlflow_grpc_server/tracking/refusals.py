"""What the state of a store does not allow, in words; and MLflow's own words for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    ALREADY_EXISTS,
    INVALID_PARAMETER_VALUE,
    INVALID_STATE,
    NOT_FOUND,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)

from mlflow_grpc_server.exceptions import (
    AlreadyExistsError,
    FailedPreconditionError,
    NotFoundError,
)

__all__ = [
    "NOT_FOUND_CODES",
    "REFUSED_CODES",
    "absent",
    "already_exists",
    "not_found",
    "param_changed",
    "wrong_stage",
]

NOT_FOUND_CODES = {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(NOT_FOUND)}
_EXISTS = {ErrorCode.Name(RESOURCE_ALREADY_EXISTS), ErrorCode.Name(ALREADY_EXISTS)}
REFUSED_CODES = {ErrorCode.Name(INVALID_PARAMETER_VALUE), ErrorCode.Name(INVALID_STATE)}


@contextmanager
def not_found(kind: str, name: str) -> Iterator[None]:
    """Turn MLflow's word for an absent thing into NotFoundError of `kind` and `name`."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in NOT_FOUND_CODES:
            raise
        raise NotFoundError(kind, name) from error


@contextmanager
def absent(kind: str, name: str) -> Iterator[None]:
    """Turn any of MLflow's words for an absent thing into NotFoundError; the name was checked."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in (*NOT_FOUND_CODES, *REFUSED_CODES):
            raise
        raise NotFoundError(kind, name) from error


@contextmanager
def already_exists(kind: str, name: str) -> Iterator[None]:
    """Turn MLflow's word for a taken name into AlreadyExistsError of `kind` and `name`."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in _EXISTS:
            raise
        raise AlreadyExistsError(kind, name) from error


def wrong_stage(kind: str, name: str, stage: str) -> FailedPreconditionError:
    """Return the error for something that is deleted, or is not and should be."""
    words = stage.lower().replace("_", " ")
    return FailedPreconditionError(
        f"{kind.upper()}_{stage}", f"The {kind} {name!r} is {words}.", {"name": name}
    )


def param_changed(index: int, key: str, stored: str, given: str) -> FailedPreconditionError:
    """Return the error for a param that is there with another value."""
    return FailedPreconditionError(
        "PARAM_ALREADY_LOGGED",
        f"The param {key!r} is logged already, with another value.",
        {"key": key, "stored": stored, "given": given},
        [f"params[{index}].value"],
    )
