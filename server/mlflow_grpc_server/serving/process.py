"""One worker process, as the server sees it: its start, its calls, its log and its end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow_grpc_server.serving.frames import ClosedError, FrameProtocol, Kind
from mlflow_grpc_server.serving.spec import TensorInfos

__all__ = ["MAX_ANSWER_BYTES", "Cause", "Ended", "Lane", "ProcessSpec", "WorkerProcess"]

MAX_ANSWER_BYTES = 32 * 2**20
_MOST_LINES = 50
_MOST_LINE = 500
_STOP_SECONDS = 5.0
_READ_BYTES = 65_536
# The settings of the server itself, which may hold passwords of its stores.
_PRIVATE = ("MLFLOW_GRPC_",)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProcessSpec:
    """A worker to start: `path` of the model, memory in bytes (0: no limit)."""

    label: str
    path: Path
    environment: Mapping[str, str]
    memory_limit: int
    concurrency: int


class Cause:
    """Why a process ended."""

    STOPPED = "stopped"
    CRASHED = "crashed"
    KILLED = "killed"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    NOT_LOADED = "not loaded"


@dataclass(frozen=True)
class Ended:
    """The end of a process: a `Cause`, and the words for it."""

    cause: str
    message: str


class Lane:
    """A socket to a worker, which carries one call at a time."""

    def __init__(self, process: WorkerProcess, frames: FrameProtocol) -> None:
        self.process = process
        self._frames = frames

    async def ask(self, kind: Kind, payload: bytes = b"") -> tuple[Kind, bytes]:
        """Send a frame and return the one that answers it. Raises ClosedError."""
        self._frames.send(kind, payload)
        return await self._frames.receive()

    def tell(self, kind: Kind, payload: bytes = b"") -> None:
        """Send a frame that nothing answers. Raises ClosedError."""
        self._frames.send(kind, payload)

    def call(self, payload: bytes, answered: Callable[[tuple[Kind, bytes] | None], None]) -> None:
        """Ask for a prediction; `answered` gets the answer as it comes, None if none will come.

        Raises ClosedError.
        """
        self._frames.send(Kind.PREDICT, payload)
        self._frames.expect(answered)

    async def hear(self) -> tuple[Kind, bytes]:
        """Return the next frame. Raises ClosedError."""
        return await self._frames.receive()

    def close(self) -> None:
        """Close the socket, which ends a worker that is at rest."""
        self._frames.close()


class WorkerProcess:
    """A process from its start to its end; it is not started again."""

    def __init__(self, spec: ProcessSpec, process: asyncio.subprocess.Process) -> None:
        self._spec = spec
        self._process = process
        self._killed: Ended | None = None
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self.lanes: list[Lane] = []
        self.pid = process.pid
        self.infos = TensorInfos()
        self.has_answered = False
        self._is_ready = False
        self.draining = False
        self.at_rest = asyncio.Event()
        self._is_stopping = False
        self._resting = 0
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._watch = asyncio.create_task(self._wait())

    @classmethod
    async def start(cls, spec: ProcessSpec) -> WorkerProcess:
        """Start a process; it is not ready yet. It leads a process group of its own."""
        pairs = [socket.socketpair() for _ in range(spec.concurrency)]
        try:
            ends = [theirs.fileno() for _, theirs in pairs]
            options = {
                "path": str(spec.path),
                "lanes": ends,
                "parent": os.getpid(),
                "max_answer": MAX_ANSWER_BYTES,
            }
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", f"{__package__}.worker", json.dumps(options)),
                env={**_environment(), **spec.environment},
                pass_fds=ends,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            for ours, _ in pairs:
                ours.close()
            raise
        finally:
            for _, theirs in pairs:
                theirs.close()
        worker = cls(spec, process)
        loop = asyncio.get_running_loop()
        try:
            for ours, _ in pairs:
                _, frames = await loop.create_unix_connection(
                    lambda: FrameProtocol(worker._lose_lane), sock=ours
                )
                worker.lanes.append(Lane(worker, frames))
        except BaseException:
            worker.kill(Cause.STOPPED, "stopped")
            raise
        return worker

    async def ready(self) -> None:
        """Return when the model is loaded, or when the process has ended without it."""
        try:
            kind, payload = await self.lanes[0].hear()
        except ClosedError:
            await self.ended
            return
        if kind is Kind.READY:
            self.infos = TensorInfos.from_json(json.loads(payload))
            self._is_ready = True
        else:
            self.kill(Cause.NOT_LOADED, f"the model cannot be loaded: {payload.decode()}")
            await self.ended

    @property
    def log_lines(self) -> tuple[str, ...]:
        """The last lines that the process wrote."""
        return tuple(self._lines)

    def resident_bytes(self) -> int:
        """Return how much memory the process uses; 0 if it is gone."""
        try:
            fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        except OSError:
            return 0
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def kill(self, cause: str, message: str) -> None:
        """End the process now; the first cause counts."""
        if self._killed is None and not self.ended.done():
            self._killed = Ended(cause, message)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _lose_lane(self) -> None:
        """End a process that has closed a socket, and with it whoever waits for an answer."""
        if not self._is_stopping and not self.ended.done():
            text = "closed the connection to the server"
            loop = asyncio.get_running_loop()
            loop.call_later(_STOP_SECONDS, self.kill, Cause.CRASHED, text)

    def drain(self, resting: int) -> None:
        """Take no more calls; `at_rest` is set when those on all but `resting` lanes have ended."""
        self.draining = True
        self._resting = resting - 1
        self.rest()

    def rest(self) -> None:
        """Count a lane that has ended its last call."""
        self._resting += 1
        if self._resting >= len(self.lanes):
            self.at_rest.set()

    async def stop(self) -> None:
        """End the process, which is at rest, in its own time or else by force."""
        if not self._is_ready:
            # Whatever it is loading, it would not notice.
            self.kill(Cause.STOPPED, "stopped")
        self._is_stopping = True
        for lane in self.lanes:
            lane.close()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.ended), _STOP_SECONDS)
        self.kill(Cause.STOPPED, "stopped")
        await self.ended
        await self._watch

    async def _wait(self) -> None:
        log = asyncio.create_task(self._read_log())
        code = await self._process.wait()
        for lane in self.lanes:
            lane.close()
        # Children of the model may hold the pipe open for long after.
        await asyncio.wait({log}, timeout=1.0)
        log.cancel()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.ended.set_result(self._killed or _ended(code))

    async def _read_log(self) -> None:
        assert self._process.stdout is not None
        rest = ""
        while chunk := await self._process.stdout.read(_READ_BYTES):
            *lines, rest = (rest + chunk.decode(errors="replace")).split("\n")
            for line in lines:
                self._lines.append(line.rstrip()[:_MOST_LINE])
                _logger.debug("%s pid %d: %s", self._spec.label, self.pid, self._lines[-1])
            rest = rest[:_READ_BYTES]
        if rest:
            self._lines.append(rest[:_MOST_LINE])


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_PRIVATE)}


def _ended(code: int) -> Ended:
    """Return how a process that nobody here killed ended, by its exit code."""
    if code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP):
        return Ended(Cause.KILLED, f"killed from outside by {signal.Signals(-code).name}")
    if code < 0:
        return Ended(Cause.CRASHED, f"crashed by {signal.Signals(-code).name}")
    return Ended(Cause.CRASHED, f"exited with code {code}")
