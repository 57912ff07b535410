"""Start the two servers as processes, and end them with everything they started."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tests.benchmarks.seeding import database_uri

__all__ = ["grpc_process", "grpc_server", "models_server", "rest_server"]

_START_SECONDS = 90.0
_STOP_SECONDS = 15.0
_REST_WORKERS = 2
_WORKER_STARTED = "Application startup complete"
_LISTENING = re.compile(r"^mlflow-grpc-server \S+ listening on (\S+:\d+)$", re.MULTILINE)

_T = TypeVar("_T")


@contextmanager
def grpc_server(folder: Path) -> Iterator[str]:
    """Our server over the database in `folder`; gives its `host:port`."""
    with grpc_process(folder, database_uri(folder)) as (address, _):
        yield address


@contextmanager
def grpc_process(folder: Path, uri: str, *arguments: str) -> Iterator[tuple[str, int]]:
    """Our server over the database at `uri`; gives its `host:port` and the id of its process."""
    command = [
        *(sys.executable, "-m", "mlflow_grpc_server.cli"),
        *("--backend-store-uri", uri),
        *("--default-artifact-root", (folder / "artifacts").as_uri()),
        *("--artifacts-destination", (folder / "artifacts").as_uri()),
        *("--host", "127.0.0.1", "--port", "0"),
        *arguments,
    ]
    with _process(command, folder) as (process, log):

        def address() -> str | None:
            found = _LISTENING.search(log.read_text(errors="replace"))
            return found[1] if found else None

        yield _wait_for(address, process, log), process.pid


@contextmanager
def rest_server(
    folder: Path,
    *,
    serve_artifacts: bool = False,
    workers: int = _REST_WORKERS,
    uri: str | None = None,
) -> Iterator[str]:
    """MLflow's own server over the database in `folder`, or at `uri`; gives its URL.

    With `serve_artifacts` files go through it, else its clients use the folder themselves.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", uri or database_uri(folder)),
        *(
            ("--artifacts-destination", (folder / "artifacts").as_uri())
            if serve_artifacts
            else ("--default-artifact-root", (folder / "artifacts").as_uri())
        ),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)),
    ]
    with _process(command, folder) as (process, log):

        def healthy() -> str | None:
            # One worker answers while the others still start, and slow the machine down.
            if log.read_text(errors="replace").count(_WORKER_STARTED) < workers:
                return None
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                    return url if answer.status == 200 else None
            except (urllib.error.URLError, OSError):
                return None

        yield _wait_for(healthy, process, log)


@contextmanager
def models_server(folder: Path, model: Path, workers: int) -> Iterator[str]:
    """`mlflow models serve` of the model in a folder; gives its URL."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model)),
        *("--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(workers)),
    ]
    place = folder / "models-serve"
    place.mkdir()
    with _process(command, place) as (process, log):

        def healthy() -> str | None:
            started = log.read_text(errors="replace").count(_WORKER_STARTED)
            return url if started >= workers else None

        yield _wait_for(healthy, process, log)


@contextmanager
def _process(command: list[str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process that leads its own session, and the file its output goes to."""
    # The caller's MLflow settings are not part of what is compared.
    environment = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # `mlflow models serve` starts uvicorn by its name.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # No operation here is a job; the processes for jobs take CPU for long after /health answers.
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process, log
    finally:
        # The leader of a session has its own id as the id of its process group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_setting(name: str) -> bool:
    return name.startswith(("MLFLOW_", "_MLFLOW_"))


def _wait_for(probe: Callable[[], _T | None], process: subprocess.Popen[bytes], log: Path) -> _T:
    """What `probe` gives once it gives something, unless the process ends or time runs out."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        found = probe()
        if found is not None:
            return found
        time.sleep(0.05)
    end = log.read_text(errors="replace")[-4000:]
    raise RuntimeError(f"{' '.join(process.args[1:4])} did not start:\n{end}")  # type: ignore[index]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
