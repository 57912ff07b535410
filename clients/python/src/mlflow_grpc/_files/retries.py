"""How long a transfer that was cut off is taken up again."""

from __future__ import annotations

import time

from mlflow_grpc._errors import (
    AbortedError,
    DataLossError,
    InternalError,
    MlflowGrpcError,
    UnavailableError,
)

# As long as the server keeps what it holds of an upload.
_SECONDS = 60.0
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 2.0
# What gRPC for asyncio makes at times of any status that comes while it sends: of a lost
# connection, and of a refusal, which comes again when it is asked again.
_HIDDEN = "Internal error from Core"


class Retries:
    """Decides after each failure whether to go on, and when.

    Failures without progress end it after a minute; bytes that were damaged are sent again once.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._damaged = False
        self._progress = -1
        self._since = time.monotonic()
        self._delay = _FIRST_DELAY

    @staticmethod
    def is_damage(error: MlflowGrpcError) -> bool:
        """Whether what is held cannot be gone on from."""
        return isinstance(error, DataLossError)

    def delay(self, error: MlflowGrpcError, progress: int) -> float:
        """The seconds to wait before going on. Raises `error` if it is final.

        `progress` is any number that grows while the transfer moves.
        """
        if not self._enabled:
            raise error
        if isinstance(error, DataLossError) and not self._damaged:
            self._damaged = True
            return 0.0
        if not (isinstance(error, (UnavailableError, AbortedError)) or _is_hidden(error)):
            raise error
        now = time.monotonic()
        if progress > self._progress:
            self._progress, self._since, self._delay = progress, now, _FIRST_DELAY
        if now - self._since > _SECONDS:
            raise error
        self._delay = min(self._delay * 2, _LONGEST_DELAY)
        return self._delay


def _is_hidden(error: MlflowGrpcError) -> bool:
    return isinstance(error, InternalError) and error.message == _HIDDEN
