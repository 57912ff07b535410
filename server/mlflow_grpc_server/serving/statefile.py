"""What is deployed, kept over a restart. Every method blocks."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from mlflow_grpc_server.exceptions import FailedPreconditionError
from mlflow_grpc_server.serving.spec import Spec, WeightedUri

__all__ = ["Kept", "StateFile"]


@dataclass(frozen=True)
class Kept:
    """A deployment as it is kept; the time in milliseconds since the epoch."""

    spec: Spec
    create_time_ms: int


class StateFile:
    """`deployments.json` in a folder that one server at a time owns.

    It holds the values of environment variables, and is readable by the server's user alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: IO[str] | None = None

    def load(self) -> list[Kept]:
        """Return what was deployed; nothing if another server owns the folder."""
        if not self._path.exists() or not self._own():
            return []
        parsed = json.loads(self._path.read_text())
        return [_kept(one) for one in parsed["deployments"]]

    def save(self, deployments: Iterable[Kept]) -> None:
        """Replace what is kept. Raises FailedPreconditionError if another server owns it."""
        self.require()
        text = json.dumps({"deployments": [asdict(one) for one in deployments]}, indent=2)
        part = self._path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)

    def require(self) -> None:
        """Own the folder, or raise FailedPreconditionError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._own():
            raise FailedPreconditionError(
                "SERVING_FOLDER_IN_USE",
                "Another server uses the same serving folder: start each with its own.",
            )

    @property
    def is_owned(self) -> bool:
        """Whether the folder is this server's."""
        return self._lock is not None

    def close(self) -> None:
        """Let another server own the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def _path(self) -> Path:
        return self._folder / "deployments.json"

    def _own(self) -> bool:
        if self._lock is None:
            lock = (self._folder / "lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                return False
            self._lock = lock
        return True


def _kept(parsed: dict[str, object]) -> Kept:
    spec: dict[str, object] = dict(parsed["spec"])  # type: ignore[call-overload]
    models = tuple(WeightedUri(**one) for one in spec.pop("models"))  # type: ignore[attr-defined]
    return Kept(Spec(models=models, **spec), int(parsed["create_time_ms"]))  # type: ignore
