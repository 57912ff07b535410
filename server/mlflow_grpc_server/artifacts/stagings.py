"""The folders of files that are still arriving, of this server and of those before it."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mlflow_grpc_server.artifacts.staging import Staging

__all__ = ["Stagings"]

_logger = logging.getLogger(__name__)

_MARKER = ".elsewhere"


class Stagings:
    """Every staging that may hold something, with the bytes that some of them may hold at most.

    Some are `always` known. Any other one, such as those of experiments with a location of their
    own, has a marker in the first of those, a file with its path, by which a later server, or
    another replica, finds and sweeps it.
    """

    def __init__(self, always: Sequence[Path], most_bytes: Mapping[Path, int]) -> None:
        self._markers = always[0] if always else None
        self._most_bytes = most_bytes
        self._always = {folder: Staging(folder, most_bytes.get(folder)) for folder in always}
        self._lock = threading.Lock()
        self._others: dict[Path, Staging] = {}

    def at(self, folder: Path) -> Staging:
        """Return the staging that is a folder."""
        if folder in self._always:
            return self._always[folder]
        with self._lock:
            if folder not in self._others:
                most = self._most_bytes.get(folder)
                self._others[folder] = Staging(folder, most, self._marker(folder))
            return self._others[folder]

    def sweep(self, seconds: float) -> None:
        """Delete what nobody has written to for `seconds`, and of the stagings that are not always
        known those that are empty."""
        for folder in self._marked():
            self.at(folder)
        with self._lock:
            others = list(self._others.values())
        for staging in (*self._always.values(), *others):
            try:
                deleted = staging.sweep(seconds)
            except OSError:
                # One that is out of reach holds up no other.
                _logger.exception("could not delete unfinished uploads")
                continue
            if deleted:
                _logger.info("deleted %d unfinished uploads", deleted)
        for staging in others:
            if staging.remove():
                with self._lock:
                    self._others.pop(staging.folder, None)

    def _marker(self, folder: Path) -> Path | None:
        return None if self._markers is None else self._markers / _marker_name(os.fsencode(folder))

    def _marked(self) -> list[Path]:
        """The folders that have markers."""
        if self._markers is None:
            return []
        found = []
        for marker in self._markers.glob(f"*{_MARKER}"):
            # Another replica may be removing it, or writing it.
            with suppress(OSError):
                path = marker.read_bytes()
                if marker.name == _marker_name(path):
                    found.append(Path(os.fsdecode(path)))
        return found


def _marker_name(path: bytes) -> str:
    return hashlib.sha256(path).hexdigest()[:40] + _MARKER
