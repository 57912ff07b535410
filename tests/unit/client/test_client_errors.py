"""What a failed call raises."""

from __future__ import annotations

import pickle

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from mlflow_grpc import (
    FieldViolation,
    InvalidArgumentError,
    MlflowGrpcError,
    NotFoundError,
    UnavailableError,
)
from mlflow_grpc._errors import ERRORS
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import Answer, FakeServer

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


def refuse(code: grpc.StatusCode, message: str, *details: Message) -> Answer:
    """Answers with a google.rpc.Status."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)

    def answer(request: Message, context: grpc.ServicerContext) -> Message:
        context.abort_with_status(rpc_status.to_status(status))

    return answer


def test_every_code_has_an_exception_of_its_own() -> None:
    assert set(ERRORS) == set(CODES)
    assert len(set(ERRORS.values())) == len(ERRORS)
    assert all(issubclass(error, MlflowGrpcError) for error in ERRORS.values())


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
async def test_code_decides_the_exception(
    code: grpc.StatusCode, server: FakeServer, driver: Driver
) -> None:
    server.answers["DeleteRun"] = lambda request, context: context.abort(code, "no")
    with pytest.raises(MlflowGrpcError) as caught:
        await driver.call("delete_run", "r")
    error = caught.value
    assert type(error) is ERRORS[code]
    assert (error.code, error.message, error.reason) == (code, "no", "")
    assert (error.metadata, error.field_violations) == ({}, ())
    assert (error.retry_delay, error.request_id) == (None, "")
    assert str(error) == f"{code.name}: no"
    assert isinstance(error.__cause__, grpc.RpcError)


async def test_details_are_decoded(server: FakeServer, driver: Driver) -> None:
    server.answers["DeleteRun"] = refuse(
        grpc.StatusCode.INVALID_ARGUMENT,
        "bad",
        error_details_pb2.RequestInfo(request_id="q7"),
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field="run_id", description="short")
            ]
        ),
        error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)),
        error_details_pb2.DebugInfo(detail="not for us"),
        error_details_pb2.ErrorInfo(
            reason="INVALID_FIELD", domain="mlflow-grpc", metadata={"field": "run_id"}
        ),
    )
    with pytest.raises(InvalidArgumentError) as caught:
        await driver.call("delete_run", "r")
    error = caught.value
    assert (error.message, error.reason) == ("bad", "INVALID_FIELD")
    assert error.metadata == {"field": "run_id"}
    assert error.field_violations == (FieldViolation("run_id", "short"),)
    assert (error.retry_delay, error.request_id) == (1.5, "q7")
    assert str(error) == "INVALID_ARGUMENT INVALID_FIELD: bad (request q7)"

    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is InvalidArgumentError
    assert vars(copy) == vars(error)


async def test_a_retry_at_once_is_not_no_retry(server: FakeServer, driver: Driver) -> None:
    server.answers["DeleteRun"] = refuse(
        grpc.StatusCode.UNAVAILABLE, "", error_details_pb2.RetryInfo()
    )
    with pytest.raises(UnavailableError) as caught:
        await driver.call("delete_run", "r")
    assert caught.value.retry_delay == 0


@pytest.mark.parametrize(
    "details",
    [b"\xff\xff\xff", status_pb2.Status(code=3, message="other").SerializeToString()],
    ids=["garbage", "of another code"],
)
async def test_details_that_cannot_be_trusted_are_left_out(
    details: bytes, server: FakeServer, driver: Driver
) -> None:
    def answer(request: Message, context: grpc.ServicerContext) -> Message:
        context.set_trailing_metadata([("grpc-status-details-bin", details)])
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    server.answers["DeleteRun"] = answer
    with pytest.raises(NotFoundError, match=r"^NOT_FOUND: gone$"):
        await driver.call("delete_run", "r")


async def test_no_server_is_unavailable(driver: Driver) -> None:
    client = driver.open("unix:/nonexistent/mlflow-grpc.sock", retry_attempts=1)
    with pytest.raises(UnavailableError):
        await driver.call("get_version", on=client)


async def test_an_experiment_that_is_not_there_is_none(server: FakeServer, driver: Driver) -> None:
    server.answers["GetExperimentByName"] = refuse(grpc.StatusCode.NOT_FOUND, "none")
    assert await driver.call("get_experiment_by_name", "n") is None


async def test_an_error_in_the_middle_of_a_list_is_raised(
    server: FakeServer, driver: Driver
) -> None:
    server.answers["SearchRuns"] = refuse(grpc.StatusCode.NOT_FOUND, "none")
    with pytest.raises(NotFoundError):
        await driver.call("search_runs", ["9"])
