"""Forks of a process that logs: a child logs on its own or is told why not; the parent goes on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mlflow_grpc.v1 import artifacts_pb2, experiment_service_pb2
from tests.unit.client import forking
from tests.unit.client.fake_server import FakeServer

# How many runs and points of which key reach the server.
EXPECTED = {
    "imported": (2, {"child": 200}),
    "streaming": (6, {"parent": 500, "child": 500}),
    "pool": (7, {"parent": 300, "child": 600}),
    "away": (2, {"child": 100}),
    "asyncio_used": (1, {"parent": 100}),
    "unsupported": (2, {"child": 200}),
    "callback": (1, {"parent": 100}),
    "files": (3, {}),
    "transferring": (2, {"child": 100}),
}


def stored(request: Any, context: Any) -> artifacts_pb2.LogArtifactsResponse:
    """Files as they came, each with a chunk of its own."""
    return artifacts_pb2.LogArtifactsResponse(
        artifacts=[{"path": c.path, "size": c.size, "sha256": c.sha256} for c in request.chunks]
    )


def there(request: Any, context: Any) -> artifacts_pb2.DownloadArtifactResponse:
    """The one file that a download finds."""
    sha256 = hashlib.sha256(b"there").hexdigest()
    chunk = {"path": "there", "size": 5, "data": b"there", "sha256": sha256}
    return artifacts_pb2.DownloadArtifactResponse(chunks=[chunk])


def test_every_scenario_is_run() -> None:
    assert set(EXPECTED) == set(forking.SCENARIOS)


@pytest.mark.parametrize("scenario", EXPECTED)
def test_fork(scenario: str, server: FakeServer, tmp_path: Path) -> None:
    server.answers["StartRun"] = lambda request, context: experiment_service_pb2.StartRunResponse(
        run={"info": {"run_id": f"r{len(server.requests('StartRun'))}"}}
    )
    server.answers["LogArtifacts"] = stored
    server.answers["DownloadArtifact"] = there
    server.answers["ListArtifacts"] = lambda request, context: artifacts_pb2.ListArtifactsResponse(
        artifacts=[{"path": "there", "size": 5}]
    )
    support = {"GRPC_ENABLE_FORK_SUPPORT": "0"} if scenario == "unsupported" else {}
    done = subprocess.run(
        [sys.executable, str(Path(forking.__file__)), scenario, server.target],
        capture_output=True,
        text=True,
        env={**os.environ, **support, "TMPDIR": str(tmp_path)},
        timeout=100,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    runs, points = EXPECTED[scenario]
    assert len(server.requests("StartRun")) == runs
    # Every run that a block ended was ended, once, and by its own process.
    ended = Counter(request.run_id for request in server.requests("EndRun"))
    assert all(count == 1 for count in ended.values())
    assert len(ended) == runs - (scenario == "away")
    sent = {
        (request.run_id, metric.key, metric.step, metric.value, metric.timestamp_ms)
        for request in server.requests("StreamMetrics")
        for metric in request.metrics
    }
    assert Counter(key for _, key, *_ in sent) == points
    logged = [c.path for request in server.requests("LogArtifacts") for c in request.chunks]
    assert not [path for path in logged if "never" in path]
    assert scenario != "files" or Counter(logged)["child/one"] == Counter(logged)["parent/after"]
