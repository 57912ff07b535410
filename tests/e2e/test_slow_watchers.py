"""Watchers that do not read cost the server nothing, and nobody waits for them."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from mlflow_grpc.v1 import run_service_pb2, run_service_pb2_grpc
from tests.rpc import Rpcs
from tests.servers import ServerProcess
from tests.streams import MetricStream, points

_MESSAGES = 50
_POINTS_PER_MESSAGE = 10_000
_POINTS = _MESSAGES * _POINTS_PER_MESSAGE
_WATCHERS = 20
# All points for all watchers would be some 300 MB in messages, and more as objects.
_MOST_GROWTH_BYTES = 100 * 1024**2


def resident_bytes(pid: int) -> int:
    """The memory that a process has in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def write(channel: grpc.Channel, run_id: str) -> None:
    """Log all points, and return when the last is acknowledged."""
    with MetricStream(channel) as stream:
        for number in range(_MESSAGES):
            stream.send(number + 1, run_id, points(number * _POINTS_PER_MESSAGE, 10_000))
            assert stream.acked(number + 1) == []


@pytest.mark.slow
def test_watchers_that_never_read(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path) as server,
        grpc.insecure_channel(server.address) as channel,
        grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as other,
    ):
        rpcs = Rpcs(channel)
        warm, watched = (rpcs("StartRun", experimentId="0").run.info.run_id for _ in range(2))
        write(channel, warm)
        before = resident_bytes(server.pid)
        stub = run_service_pb2_grpc.RunServiceStub(other)
        request = run_service_pb2.WatchRunRequest(run_id=watched)
        watches = [stub.WatchRun(request, timeout=600) for _ in range(_WATCHERS)]
        for watch in watches:
            assert next(watch).HasField("snapshot")
        write(channel, watched)
        # They were watching all the while: whoever reads at last gets every point, in order.
        seen: list[int] = []
        while len(seen) < _POINTS:
            seen += [point.step for point in next(watches[0]).points.metrics]
        assert seen == list(range(_POINTS))
        # Now, as the server has had the time to read as much for the others, did it not wait.
        grown = resident_bytes(server.pid) - before
        assert grown < _MOST_GROWTH_BYTES, f"grown by {grown / 1024**2:.0f} MiB"
