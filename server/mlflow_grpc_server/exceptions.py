"""What the inner packages raise when a request cannot be served.

They know no grpc types; `errors` maps each class to a status.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = [
    "AlreadyExistsError",
    "ArtifactStoreError",
    "ConcurrentUploadError",
    "DataLossError",
    "FailedPreconditionError",
    "InvalidFieldError",
    "MalformedRequestError",
    "NoSpaceError",
    "ModelFailedError",
    "ModelLimitError",
    "NotFoundError",
    "OffsetError",
    "OverloadedError",
    "PredictTimeoutError",
    "QueueFullError",
    "RequestError",
    "ServerStoppingError",
    "ServingUnavailableError",
    "StoreUnavailableError",
    "UnimplementedError",
    "UnreadableArtifactError",
]


class RequestError(Exception):
    """A request that cannot be served, with what the caller may know of why.

    `reason` is UPPER_SNAKE and stable; `metadata` holds every dynamic value of the message.
    `fields` names the request's fields that are at fault, if any.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        fields: Iterable[str] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.fields = tuple(fields)


class InvalidFieldError(RequestError):
    """A field of the request that no state of the server would make valid."""

    def __init__(self, field: str, fault: str) -> None:
        super().__init__("INVALID_FIELD", f"{field}: {fault}", {"field": field}, [field])


class MalformedRequestError(RequestError):
    """Bytes that are not a message of the kind that the method takes."""

    def __init__(self) -> None:
        super().__init__("MALFORMED_REQUEST", "The request is not a message that the method takes.")


class NotFoundError(RequestError):
    """Something that the request names and the store does not have."""

    def __init__(self, kind: str, name: str) -> None:
        reason = kind.upper().replace(" ", "_") + "_NOT_FOUND"
        super().__init__(reason, f"There is no {kind} {name!r}.", {"name": name})


class AlreadyExistsError(RequestError):
    """A name that the request would take and that is taken."""

    def __init__(self, kind: str, name: str) -> None:
        reason = kind.upper().replace(" ", "_") + "_ALREADY_EXISTS"
        super().__init__(reason, f"The name {name!r} of the {kind} is taken.", {"name": name})


class FailedPreconditionError(RequestError):
    """A valid request that the present state of what it names does not allow."""


class OverloadedError(RequestError):
    """More calls wait for the stores than the server is willing to hold."""

    def __init__(self, waiting: int) -> None:
        super().__init__(
            "TOO_MANY_CALLS_WAITING",
            f"{waiting} calls are waiting for the stores already.",
            {"waiting": str(waiting)},
        )


class DataLossError(RequestError):
    """Bytes that are not those that were meant."""

    def __init__(self, path: str, fault: str) -> None:
        super().__init__("CHECKSUM_MISMATCH", f"The file {path!r} {fault}.", {"path": path})


class NoSpaceError(RequestError):
    """A file that the artifact store has no room for."""

    def __init__(self, path: str, free_bytes: int) -> None:
        super().__init__(
            "NO_SPACE",
            f"The file {path!r} does not fit: {free_bytes:,} bytes are free.",
            {"path": path, "free_bytes": str(free_bytes)},
        )


class ConcurrentUploadError(RequestError):
    """An upload id that another call is using."""

    def __init__(self, path: str) -> None:
        super().__init__(
            "UPLOAD_IN_USE", f"Another call is uploading {path!r} by that id.", {"path": path}
        )


class OffsetError(RequestError):
    """A range that begins beyond the end of its file."""

    def __init__(self, path: str, offset: int, size: int) -> None:
        super().__init__(
            "BEYOND_END",
            f"The file {path!r} has {size:,} bytes; there is no byte {offset:,}.",
            {"path": path, "offset": str(offset), "size": str(size)},
        )


class ArtifactStoreError(RequestError):
    """An artifact store that does not answer, or not as it should."""

    def __init__(self) -> None:
        super().__init__("ARTIFACT_STORE_UNAVAILABLE", "The artifact store cannot be used now.")


class UnreadableArtifactError(RequestError):
    """An artifact that is there, or may be, and that the system does not let the server read."""

    def __init__(self, path: str) -> None:
        super().__init__(
            "ARTIFACT_UNREADABLE", f"The server cannot read the artifact {path!r}.", {"path": path}
        )


class StoreUnavailableError(RequestError):
    """A store that does not answer or does not let anyone write, for now."""

    def __init__(self) -> None:
        super().__init__("STORE_UNAVAILABLE", "The store cannot be reached or is locked.")


class ServerStoppingError(RequestError):
    """A stream that ends because the server does; another replica can go on with it."""

    def __init__(self) -> None:
        super().__init__("SERVER_STOPPING", "The server is stopping.")


class UnimplementedError(RequestError):
    """Something that the server cannot do over the store it has."""


class ModelFailedError(RequestError):
    """A served model that raised, or that ended its process, over an input it should take."""


class ModelLimitError(RequestError):
    """A prediction that took more memory, or gave a larger answer, than is allowed."""


class PredictTimeoutError(RequestError):
    """A prediction that took longer than its deployment allows."""


class QueueFullError(RequestError):
    """More calls wait for a served model than the server is willing to hold."""


class ServingUnavailableError(RequestError):
    """A served model that nothing answers for, for now."""
