"""The exceptions of the client, and the one table from gRPC's status codes to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status  # type: ignore[import-untyped, unused-ignore]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request that the server refused."""

    field: str
    """The path of the field in the request message, such as `metrics[3].key`."""

    description: str
    """What is wrong with it."""


class MlflowGrpcError(Exception):
    """A call that failed. The root of everything the client raises for a failed call.

    Every status code has a subclass. The `grpc.RpcError` that it came from, if any, is its
    `__cause__`.
    """

    code: grpc.StatusCode
    """gRPC's status code."""

    message: str
    """What is wrong, for people."""

    reason: str
    """What is wrong, for programs: UPPER_SNAKE and stable. Empty if the server gave none, as
    when it could not be reached."""

    metadata: dict[str, str]
    """The values that `message` speaks of, such as the name that was not found."""

    field_violations: tuple[FieldViolation, ...]
    """The fields of the request that the server refused."""

    retry_delay: float | None
    """How many seconds to wait before trying again, if the server says that it may help."""

    request_id: str
    """The id under which the server's log tells more. Empty if the server gave none."""

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: Iterable[FieldViolation] = (),
        retry_delay: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field_violations = tuple(field_violations)
        self.retry_delay = retry_delay
        self.request_id = request_id

    def __str__(self) -> str:
        head = f"{self.code.name} {self.reason}" if self.reason else self.code.name
        tail = f" (request {self.request_id})" if self.request_id else ""
        return f"{head}: {self.message}{tail}"

    def __reduce__(self) -> tuple[object, ...]:
        # Trainers raise it in worker processes; it has to cross to the parent whole.
        return type(self), (
            self.code,
            self.message,
            self.reason,
            self.metadata,
            self.field_violations,
            self.retry_delay,
            self.request_id,
        )


class CallCancelledError(MlflowGrpcError):
    """CANCELLED: the call was given up, as when the server closed."""


class UnknownError(MlflowGrpcError):
    """UNKNOWN: something failed that did not say how."""


class InvalidArgumentError(MlflowGrpcError):
    """INVALID_ARGUMENT: `field_violations` says what in the request is wrong."""


class DeadlineExceededError(MlflowGrpcError):
    """DEADLINE_EXCEEDED: no answer within the timeout. The call may have had its effect."""


class NotFoundError(MlflowGrpcError):
    """NOT_FOUND: something that the request names does not exist."""


class AlreadyExistsError(MlflowGrpcError):
    """ALREADY_EXISTS: the name is taken."""


class PermissionDeniedError(MlflowGrpcError):
    """PERMISSION_DENIED: the caller is known and may not do this."""


class ResourceExhaustedError(MlflowGrpcError):
    """RESOURCE_EXHAUSTED: the server has too much to do, or a message is too large."""


class FailedPreconditionError(MlflowGrpcError):
    """FAILED_PRECONDITION: not in the present state, as when writing to a deleted run."""


class AbortedError(MlflowGrpcError):
    """ABORTED: another call got in between. Read again, then try again."""


class OutOfRangeError(MlflowGrpcError):
    """OUT_OF_RANGE: past the end of something."""


class UnimplementedError(MlflowGrpcError):
    """UNIMPLEMENTED: the server does not know this call, or cannot do it on its store."""


class InternalError(MlflowGrpcError):
    """INTERNAL: a defect of the server. Its log tells more under `request_id`."""


class UnavailableError(MlflowGrpcError):
    """UNAVAILABLE: the server, or the store behind it, cannot be reached now."""


class DataLossError(MlflowGrpcError):
    """DATA_LOSS: stored data is lost or damaged."""


class UnauthenticatedError(MlflowGrpcError):
    """UNAUTHENTICATED: the caller did not prove who it is."""


ERRORS: Mapping[grpc.StatusCode, type[MlflowGrpcError]] = MappingProxyType(
    {
        grpc.StatusCode.CANCELLED: CallCancelledError,
        grpc.StatusCode.UNKNOWN: UnknownError,
        grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
        grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
        grpc.StatusCode.NOT_FOUND: NotFoundError,
        grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
        grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
        grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
        grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
        grpc.StatusCode.ABORTED: AbortedError,
        grpc.StatusCode.OUT_OF_RANGE: OutOfRangeError,
        grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
        grpc.StatusCode.INTERNAL: InternalError,
        grpc.StatusCode.UNAVAILABLE: UnavailableError,
        grpc.StatusCode.DATA_LOSS: DataLossError,
        grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    }
)


def decode_error(error: grpc.RpcError) -> MlflowGrpcError:
    """The client's exception for gRPC's, with the details that the server attached."""
    # Every error of a unary call is a grpc.Call as well, or has its methods, as AioRpcError does.
    call: Any = error
    code: grpc.StatusCode = call.code()
    message: str = call.details() or ""
    status = _status(call)
    # It leads to the call, which of a stream is the error: such a circle lives on until the
    # process ends, and gRPC hangs at times when a call is freed only then.
    error.__traceback__ = None
    if status is None:
        return ERRORS[code](code, message)
    return _with_details(code, message, status)


def error_of_status(status: Status) -> MlflowGrpcError:
    """The client's exception for a status that came in a message."""
    known = {code.value[0]: code for code in grpc.StatusCode}
    code = known.get(status.code, grpc.StatusCode.UNKNOWN)
    return _with_details(
        grpc.StatusCode.UNKNOWN if code is grpc.StatusCode.OK else code, status.message, status
    )


def _with_details(code: grpc.StatusCode, message: str, status: Status) -> MlflowGrpcError:
    info, bad, retry, request = ErrorInfo(), BadRequest(), RetryInfo(), RequestInfo()
    seen_retry = False
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
        detail.Unpack(request)
        seen_retry = detail.Unpack(retry) or seen_retry
    return ERRORS[code](
        code,
        message,
        info.reason,
        info.metadata,
        [FieldViolation(v.field, v.description) for v in bad.field_violations],
        retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 if seen_retry else None,
        request.request_id,
    )


def _status(call: Any) -> Status | None:
    """The google.rpc.Status that came with an error, if one that can be read did."""
    try:
        status: Status | None = rpc_status.from_call(call)
    except (ValueError, DecodeError):
        # A proxy that rewrites codes or cuts headers: the plain status is still true.
        return None
    return status
