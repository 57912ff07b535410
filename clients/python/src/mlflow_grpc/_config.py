"""How a client connects and calls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mlflow_grpc._stream.config import StreamConfig

__all__ = ["ClientConfig"]

# gRPC silently treats more attempts than this as this many.
_MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """How a client connects and calls. Immutable, and may be shared by clients.

    Raises `ValueError` when made with a value out of range.
    """

    timeout: float | None = 30.0
    """The deadline of every call that is not given its own, in seconds, retries included.
    None: no deadline."""

    metadata: tuple[tuple[str, str | bytes], ...] = ()
    """Pairs sent with every call. Keys are lower case; only keys that end in `-bin` have
    `bytes` values."""

    max_message_bytes: int = 64 * 1024 * 1024
    """The largest response the client takes, in bytes."""

    keepalive_time: float = 30.0
    """How long a connection may be silent before the client checks it, in seconds. The server
    takes a check every 10 seconds and closes connections that check more often."""

    keepalive_timeout: float = 10.0
    """How long such a check may take before the connection counts as dead, in seconds."""

    retry_attempts: int = 4
    """How often a call that is safe to repeat is tried in all while the server is
    UNAVAILABLE, from 1 (no retries) to 5."""

    stream: StreamConfig = field(default_factory=StreamConfig)
    """How runs stream their metrics in the background."""

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, not {self.timeout}")
        if self.max_message_bytes <= 0:
            raise ValueError(f"max_message_bytes must be above 0, not {self.max_message_bytes}")
        for name in ("keepalive_time", "keepalive_timeout"):
            seconds = getattr(self, name)
            if not 0 < seconds < math.inf:
                raise ValueError(f"{name} must be above 0 seconds and finite, not {seconds}")
        if not 1 <= self.retry_attempts <= _MAX_ATTEMPTS:
            raise ValueError(
                f"retry_attempts must be 1 to {_MAX_ATTEMPTS}, not {self.retry_attempts}"
            )

    def deadline(self, timeout: float | None) -> float | None:
        """The seconds a call may take: its own `timeout` if given, else the default.

        None, which gRPC takes as no deadline, for an infinite `timeout`.
        """
        seconds = self.timeout if timeout is None else timeout
        return None if seconds == math.inf else seconds
