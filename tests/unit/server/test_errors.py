"""The error table."""

from __future__ import annotations

import pymysql
import pytest
import sqlalchemy
from google.rpc import error_details_pb2
from grpc import StatusCode
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from mlflow_grpc_server import exceptions
from mlflow_grpc_server.errors import MLFLOW_CODES, REQUEST_ERRORS, status_for


def test_every_mlflow_code_has_a_row_and_no_row_is_dead() -> None:
    assert set(MLFLOW_CODES) == set(ErrorCode.keys())


def test_every_error_of_the_inner_packages_has_a_row() -> None:
    own = {getattr(exceptions, name) for name in exceptions.__all__} - {exceptions.RequestError}
    assert set(REQUEST_ERRORS) == own


@pytest.mark.parametrize("name", ErrorCode.keys())
def test_every_mlflow_error_says_its_reason(name: str) -> None:
    status = status_for(MlflowException("m", ErrorCode.Value(name)), "id")
    info = error_details_pb2.ErrorInfo.FromString(status.details[0].value)
    assert status.code == MLFLOW_CODES[name].value[0]
    assert (info.reason, info.domain, info.metadata["request_id"]) == (name, "mlflow-grpc", "id")


@pytest.mark.parametrize(
    ("mysql_code", "code"),
    [
        (1153, StatusCode.INVALID_ARGUMENT),  # A packet over max_allowed_packet.
        (1267, StatusCode.INVALID_ARGUMENT),  # Text that the column's character set cannot hold.
        (1205, StatusCode.UNAVAILABLE),  # The wait for a lock took too long.
        (2013, StatusCode.UNAVAILABLE),  # The connection was lost.
    ],
)
def test_mysql_errors_without_a_class_of_their_own_are_told_apart(
    mysql_code: int, code: StatusCode
) -> None:
    orig = pymysql.err.OperationalError(mysql_code, "s3cr3t")
    error = MlflowException("m", ErrorCode.Value("TEMPORARILY_UNAVAILABLE"))
    error.__cause__ = sqlalchemy.exc.OperationalError("SELECT", {}, orig)
    status = status_for(error, "id")
    assert status.code == code.value[0]
    assert b"s3cr3t" not in status.SerializeToString()


def test_an_unexpected_error_tells_its_request_id_and_nothing_else() -> None:
    status = status_for(RuntimeError("s3cr3t"), "the-id")
    assert status.code == StatusCode.INTERNAL.value[0]
    assert "the-id" in status.message
    assert b"s3cr3t" not in status.SerializeToString()


def test_what_is_no_text_is_told_as_well_as_can_be() -> None:
    status = status_for(exceptions.ModelFailedError("MODEL_FAILED", "no file a\udcffb"), "id")
    assert status.message == "no file a?b"


def test_a_long_message_stays_within_what_trailers_hold() -> None:
    status = status_for(exceptions.InvalidFieldError("f" * 300, "\u00e9" * 100_000), "id")
    assert status.ByteSize() < 3000
