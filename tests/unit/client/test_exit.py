"""Programs that end without closing their client."""

from __future__ import annotations

import subprocess
import sys

from tests.unit.client.fake_server import FakeServer

PROGRAM = """
import logging, sys
from mlflow_grpc import ActiveRun, Client, ClientConfig, StreamConfig
logging.basicConfig()
client = Client(sys.argv[1])
run = client.start_run()
if len(sys.argv) > 2:
    away = ClientConfig(stream=StreamConfig(flush_timeout=0.2, max_backoff=0.05))
    client = Client("unix:/nonexistent/mlflow-grpc.sock", config=away)
    run = ActiveRun(client, Client(sys.argv[1]).create_run("0"))
for number in range(100):
    run.log_metric("loss", number)
print("done")
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_was_logged_is_sent_at_exit(server: FakeServer) -> None:
    done = run(server.target)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    steps = [m.step for request in server.requests("StreamMetrics") for m in request.metrics]
    assert steps == list(range(100))


def test_a_server_that_is_gone_does_not_hang_the_exit(server: FakeServer) -> None:
    done = run(server.target, "away")
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert "a client was not closed before the process ended" in done.stderr
    assert "100 points are not known to be stored within 0.2 s" in done.stderr
    assert "UNAVAILABLE" in done.stderr
