"""The one table from exceptions to google.rpc.Status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import requests
import sqlalchemy
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from mlflow.exceptions import MlflowException

from mlflow_grpc_server.exceptions import (
    AlreadyExistsError,
    ArtifactStoreError,
    ConcurrentUploadError,
    DataLossError,
    FailedPreconditionError,
    InvalidFieldError,
    MalformedRequestError,
    ModelFailedError,
    ModelLimitError,
    NoSpaceError,
    NotFoundError,
    OffsetError,
    OverloadedError,
    PredictTimeoutError,
    QueueFullError,
    RequestError,
    ServerStoppingError,
    ServingUnavailableError,
    StoreUnavailableError,
    UnimplementedError,
    UnreadableArtifactError,
)

__all__ = ["ERROR_DOMAIN", "MLFLOW_CODES", "REQUEST_ERRORS", "status_for"]

ERROR_DOMAIN = "mlflow-grpc"

# Trailers hold 8 KiB by default and carry the message twice, once percent-encoded.
_MOST_MESSAGE_BYTES = 800
_MOST_VALUE_BYTES = 200
_RETRY_SECONDS = 1
# What MySQL refuses of a value, under codes for which its drivers have no class but that of lost
# connections: a packet too large, and text beyond the character set of the database.
_MYSQL_VALUE_CODES = {1153, 1267, 1270, 1271, 3988}

REQUEST_ERRORS: Mapping[type[RequestError], StatusCode] = {
    InvalidFieldError: StatusCode.INVALID_ARGUMENT,
    MalformedRequestError: StatusCode.INVALID_ARGUMENT,
    NotFoundError: StatusCode.NOT_FOUND,
    AlreadyExistsError: StatusCode.ALREADY_EXISTS,
    FailedPreconditionError: StatusCode.FAILED_PRECONDITION,
    OverloadedError: StatusCode.RESOURCE_EXHAUSTED,
    DataLossError: StatusCode.DATA_LOSS,
    NoSpaceError: StatusCode.RESOURCE_EXHAUSTED,
    ConcurrentUploadError: StatusCode.ABORTED,
    OffsetError: StatusCode.OUT_OF_RANGE,
    ArtifactStoreError: StatusCode.UNAVAILABLE,
    UnreadableArtifactError: StatusCode.INTERNAL,
    ServerStoppingError: StatusCode.UNAVAILABLE,
    StoreUnavailableError: StatusCode.UNAVAILABLE,
    UnimplementedError: StatusCode.UNIMPLEMENTED,
    ModelFailedError: StatusCode.INTERNAL,
    ModelLimitError: StatusCode.RESOURCE_EXHAUSTED,
    PredictTimeoutError: StatusCode.DEADLINE_EXCEEDED,
    QueueFullError: StatusCode.RESOURCE_EXHAUSTED,
    ServingUnavailableError: StatusCode.UNAVAILABLE,
}

_BY_STATUS: Mapping[StatusCode, tuple[str, ...]] = {
    StatusCode.INVALID_ARGUMENT: (
        "BAD_REQUEST",
        "GIT_SENSITIVE_TOKEN_DETECTED",
        "GIT_UNKNOWN_REF",
        "GIT_URL_NOT_ON_ALLOW_LIST",
        "INVALID_PARAMETER_VALUE",
        "IPYNB_FILE_IN_REPO",
        "MALFORMED_REQUEST",
        "MAX_BLOCK_SIZE_EXCEEDED",
        "MAX_CHILD_NODE_SIZE_EXCEEDED",
        "MAX_LIST_SIZE_EXCEEDED",
        "MAX_NOTEBOOK_SIZE_EXCEEDED",
        "MAX_READ_SIZE_EXCEEDED",
        "SEARCH_QUERY_TOO_LONG",
        "SEARCH_QUERY_TOO_SHORT",
    ),
    StatusCode.NOT_FOUND: (
        "CATALOG_DOES_NOT_EXIST",
        "DAC_DOES_NOT_EXIST",
        "EXTERNAL_LOCATION_DOES_NOT_EXIST",
        "MANAGED_RESOURCE_GROUP_DOES_NOT_EXIST",
        "METASTORE_DOES_NOT_EXIST",
        "NOT_FOUND",
        "PRINCIPAL_DOES_NOT_EXIST",
        "PROVIDER_DOES_NOT_EXIST",
        "RECIPIENT_DOES_NOT_EXIST",
        "RESOURCE_DOES_NOT_EXIST",
        "SCHEMA_DOES_NOT_EXIST",
        "SHARE_DOES_NOT_EXIST",
        "STORAGE_CREDENTIAL_DOES_NOT_EXIST",
        "TABLE_DOES_NOT_EXIST",
    ),
    StatusCode.ALREADY_EXISTS: (
        "ALREADY_EXISTS",
        "CATALOG_ALREADY_EXISTS",
        "DAC_ALREADY_EXISTS",
        "EXTERNAL_LOCATION_ALREADY_EXISTS",
        "METASTORE_ALREADY_EXISTS",
        "PROVIDER_ALREADY_EXISTS",
        "RECIPIENT_ALREADY_EXISTS",
        "RESOURCE_ALREADY_EXISTS",
        "SCHEMA_ALREADY_EXISTS",
        "SHARE_ALREADY_EXISTS",
        "STORAGE_CREDENTIAL_ALREADY_EXISTS",
        "TABLE_ALREADY_EXISTS",
    ),
    StatusCode.FAILED_PRECONDITION: (
        "CATALOG_NOT_EMPTY",
        "DIRECTORY_NOT_EMPTY",
        "DRY_RUN_FAILED",
        "INVALID_STATE",
        "INVALID_STATE_TRANSITION",
        "METASTORE_NOT_EMPTY",
        "PARTIAL_DELETE",
        "SCHEMA_NOT_EMPTY",
    ),
    StatusCode.PERMISSION_DENIED: (
        "CUSTOMER_UNAUTHORIZED",
        "DIRECTORY_PROTECTED",
        "PERMISSION_DENIED",
        "PERMISSION_NOT_PROPAGATED",
        "PROVIDER_SHARE_NOT_ACCESSIBLE",
    ),
    StatusCode.UNAUTHENTICATED: ("UNAUTHENTICATED",),
    StatusCode.RESOURCE_EXHAUSTED: (
        "QUOTA_EXCEEDED",
        "REQUEST_LIMIT_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "RESOURCE_LIMIT_EXCEEDED",
    ),
    StatusCode.ABORTED: (
        "ABORTED",
        "COULD_NOT_ACQUIRE_LOCK",
        "GIT_CONFLICT",
        "RESOURCE_CONFLICT",
    ),
    StatusCode.UNAVAILABLE: (
        "SERVICE_UNDER_MAINTENANCE",
        "TEMPORARILY_UNAVAILABLE",
        "WORKSPACE_TEMPORARILY_UNAVAILABLE",
    ),
    StatusCode.DEADLINE_EXCEEDED: (
        "DEADLINE_EXCEEDED",
        "DEPLOYMENT_TIMEOUT",
        "PROJECTS_OPERATION_TIMEOUT",
    ),
    StatusCode.UNIMPLEMENTED: ("ENDPOINT_NOT_FOUND", "FEATURE_DISABLED", "NOT_IMPLEMENTED"),
    StatusCode.CANCELLED: ("CANCELLED",),
    StatusCode.DATA_LOSS: ("DATA_LOSS",),
    StatusCode.INTERNAL: (
        "GIT_REMOTE_ERROR",
        "INSECURE_PARTNER_RESPONSE",
        "INTERNAL_ERROR",
        "IO_ERROR",
        "MALFORMED_PARTNER_RESPONSE",
        "UNPARSEABLE_HTTP_ERROR",
    ),
}

MLFLOW_CODES: Mapping[str, StatusCode] = {
    name: code for code, names in _BY_STATUS.items() for name in names
}

_RETRIABLE = (StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.ABORTED)


@dataclass(frozen=True)
class _Error:
    """What a status says, before it is packed."""

    code: StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    said: bool = False
    """Whether the message is the caller's to see even where the code is INTERNAL."""


def status_for(error: BaseException, request_id: str) -> status_pb2.Status:
    """Return the status that the caller of request `request_id` gets for `error`.

    INTERNAL carries the request id and nothing else of the error, unless it is a RequestError:
    whoever calls this logs it.
    """
    described = _describe(error)
    message = _clip(described.message, _MOST_MESSAGE_BYTES)
    if described.code is StatusCode.INTERNAL and not described.said:
        message = f"Internal error; the server's log has it under request id {request_id}."
    metadata = {k: _clip(v, _MOST_VALUE_BYTES) for k, v in described.metadata.items()}
    metadata["request_id"] = request_id
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=described.reason, domain=ERROR_DOMAIN, metadata=metadata
        ),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    if described.fields:
        details.append(_bad_request(described.fields, message))
    if described.code in _RETRIABLE and not isinstance(error, ModelLimitError):
        retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=_RETRY_SECONDS))
        details.append(retry)
    status = status_pb2.Status(code=described.code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def _describe(error: BaseException) -> _Error:
    if isinstance(error, RequestError):
        code = REQUEST_ERRORS[type(error)]
        return _Error(code, error.reason, error.message, error.metadata, error.fields, said=True)
    if isinstance(error, MlflowException):
        cause = error.__cause__ or error.__context__
        return _describe_lost_store(cause) or _describe_mlflow(error)
    return _describe_lost_store(error) or _Error(StatusCode.INTERNAL, "INTERNAL_ERROR", "")


def _describe_mlflow(error: MlflowException) -> _Error:
    code = MLFLOW_CODES.get(error.error_code, StatusCode.INTERNAL)
    if code is StatusCode.UNAVAILABLE:
        return _Error(code, error.error_code, "The store cannot serve the call now.")
    return _Error(code, error.error_code, error.message)


def _describe_lost_store(cause: BaseException | None) -> _Error | None:
    """Describe a failure of the database or of the server behind MLflow, if `cause` is one.

    The messages then hold statements and addresses, which are not the caller's.
    """
    if isinstance(cause, sqlalchemy.exc.DataError) or _is_mysql_value_error(cause):
        message = "The store cannot hold a value of the request."
        return _Error(StatusCode.INVALID_ARGUMENT, "VALUE_NOT_STORABLE", message)
    if isinstance(cause, requests.RequestException | sqlalchemy.exc.OperationalError):
        message = "The store cannot be reached or is locked."
        return _Error(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", message)
    if isinstance(cause, sqlalchemy.exc.TimeoutError | sqlalchemy.exc.InterfaceError):
        return _Error(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "No connection to the store.")
    if isinstance(cause, sqlalchemy.exc.IntegrityError):
        message = "Another call changed the same resource at the same time."
        return _Error(StatusCode.ABORTED, "CONCURRENT_CHANGE", message)
    if isinstance(cause, sqlalchemy.exc.SQLAlchemyError):
        return _Error(StatusCode.INTERNAL, "STORE_ERROR", "")
    return None


def _is_mysql_value_error(cause: BaseException | None) -> bool:
    if not isinstance(cause, sqlalchemy.exc.OperationalError) or cause.orig is None:
        return False
    return bool(cause.orig.args) and cause.orig.args[0] in _MYSQL_VALUE_CODES


def _bad_request(fields: tuple[str, ...], message: str) -> error_details_pb2.BadRequest:
    violation = error_details_pb2.BadRequest.FieldViolation
    return error_details_pb2.BadRequest(
        field_violations=[violation(field=name, description=message) for name in fields]
    )


def _clip(text: str, most: int) -> str:
    # A name of a file may hold what is no text.
    raw = text.encode(errors="replace")
    return raw.decode() if len(raw) <= most else raw[: most - 3].decode(errors="ignore") + "..."
