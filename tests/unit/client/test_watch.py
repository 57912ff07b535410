"""Watching a run: over cuts, from cursors, and in the terminal."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from rich.console import Console

from mlflow_grpc import (
    Metric,
    MetricPoints,
    MlflowGrpcError,
    NotFoundError,
    RunEnd,
    RunSnapshot,
    RunStatus,
    UnavailableError,
)
from mlflow_grpc._calls.watch import watch_run
from mlflow_grpc._cli.curves import Curves, sparkline
from mlflow_grpc._cli.live import LiveView
from mlflow_grpc._cli.main import main
from mlflow_grpc.v1 import resources_pb2
from mlflow_grpc.v1 import run_service_pb2 as pb
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import FakeServer

POINTS = 10


class Watched:
    """A run of ten points that ends; the stream is cut as told, after so many messages."""

    def __init__(self, *cuts: int) -> None:
        self._cuts = list(cuts)

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
        left = self._cuts.pop(0) if self._cuts else math.inf
        start = int(request.cursor or 0)
        for response in self._messages(start):
            if not left:
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            left -= 1
            yield response

    def _messages(self, start: int) -> Iterator[pb.WatchRunResponse]:
        running = resources_pb2.RUN_STATUS_RUNNING
        yield pb.WatchRunResponse(snapshot=_run(running), cursor=str(start))
        for step in range(start, POINTS):
            metric = resources_pb2.Metric(key="loss", value=step, timestamp_ms=5, step=step)
            points = pb.MetricPoints(metrics=[metric])
            yield pb.WatchRunResponse(points=points, cursor=str(step + 1))
        ended = resources_pb2.RUN_STATUS_FINISHED
        yield pb.WatchRunResponse(end=_run(ended), cursor=str(POINTS))


def _run(status: Any) -> resources_pb2.Run:
    return resources_pb2.Run(
        info=resources_pb2.RunInfo(run_id="r", run_name="happy-run", status=status)
    )


def steps(events: list[Any]) -> list[int]:
    return [
        point.step for event in events if isinstance(event, MetricPoints) for point in event.metrics
    ]


async def test_a_run_is_watched_to_its_end(server: FakeServer, driver: Driver) -> None:
    server.flows["WatchRun"] = Watched()
    first, *points, last = await driver.call("watch_run", "r", ["loss"], include_history=True)
    assert isinstance(first, RunSnapshot)
    assert first.run.info.status is RunStatus.RUNNING
    assert points[3] == MetricPoints((Metric("loss", 3, 5, 3),), "4")
    assert steps(points) == list(range(POINTS))
    assert isinstance(last, RunEnd)
    assert last.run.info.status is RunStatus.FINISHED
    (request,) = server.requests("WatchRun")
    assert request == pb.WatchRunRequest(run_id="r", metric_keys=["loss"], include_history=True)


async def test_a_cut_watch_goes_on_where_it_was(server: FakeServer, driver: Driver) -> None:
    server.flows["WatchRun"] = Watched(0, 1, 4, 0, 2, 1)
    events = await driver.call("watch_run", "r", include_history=True)
    assert steps(events) == list(range(POINTS))
    assert [type(event) for event in events].count(RunSnapshot) == 1
    requests = server.requests("WatchRun")
    assert len(requests) > 4
    assert all(bool(request.cursor) != request.include_history for request in requests)


async def test_a_watch_goes_on_from_a_cursor(server: FakeServer, driver: Driver) -> None:
    server.flows["WatchRun"] = Watched()
    events = await driver.call("watch_run", "r", cursor="7")
    assert steps(events) == [7, 8, 9]
    with pytest.raises(ValueError, match="without a cursor"):
        await driver.call("watch_run", "r", include_history=True, cursor="7")


async def test_what_cannot_pass_ends_a_watch(server: FakeServer, driver: Driver) -> None:
    server.flows["WatchRun"] = lambda request, context: context.abort(
        grpc.StatusCode.NOT_FOUND, "none"
    )
    with pytest.raises(NotFoundError):
        await driver.call("watch_run", "r")
    assert len(server.requests("WatchRun")) == 1


async def test_a_server_may_be_away_for_so_long(driver: Driver) -> None:
    client = driver.open("unix:/nonexistent/mlflow-grpc.sock", retry_attempts=1)
    with pytest.raises(UnavailableError):
        await driver.call("watch_run", "r", on=client, timeout=0.3)


@pytest.mark.parametrize(
    ("code", "longest"),
    [(grpc.StatusCode.UNAVAILABLE, 1.0), (grpc.StatusCode.RESOURCE_EXHAUSTED, 5.0)],
)
def test_pauses_stay_short_however_often_a_server_is_away(
    code: grpc.StatusCode, longest: float
) -> None:
    """A server that is up for a moment at a time is met in it; one that is overloaded has rest."""
    watch = watch_run("r", None, False, None)
    error = MlflowGrpcError(code, "away")
    pauses = [watch.pause_after(error) for _ in range(2000)]
    assert longest * 0.9 < max(pauses) <= longest


async def test_a_watch_may_be_left(server: FakeServer, driver: Driver) -> None:
    server.flows["WatchRun"] = Watched()
    watch = driver.client.watch_run("r")
    if driver.kind == "sync":
        assert isinstance(next(watch), RunSnapshot)  # type: ignore[call-overload]
        watch.close()  # type: ignore[union-attr]
    else:
        assert isinstance(await anext(watch), RunSnapshot)  # type: ignore[arg-type]
        await watch.aclose()  # type: ignore[union-attr]


def test_lines_for_pipes(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.flows["WatchRun"] = Watched()
    assert main(["watch", "r", "--metric", "loss", "--server", server.target]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run r happy-run RUNNING"
    assert lines[1] == "loss  step 0  0"
    assert lines[-1] == "run r happy-run FINISHED"
    assert len(lines) == POINTS + 2
    assert list(server.requests("WatchRun")[0].metric_keys) == ["loss"]


def test_json_for_programs(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.flows["WatchRun"] = Watched()
    assert main(["--address", server.target, "--json", "watch", "r"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[2] == {"key": "loss", "value": 1.0, "timestamp": 5, "step": 1}
    assert lines[-1] == {"end": "r", "name": "happy-run", "status": "FINISHED"}


def test_a_run_that_is_not_there(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.flows["WatchRun"] = lambda request, context: context.abort(
        grpc.StatusCode.NOT_FOUND, "There is no run 'r'."
    )
    assert main(["watch", "r", "--server", server.target]) == 1
    assert "There is no run 'r'." in capsys.readouterr().err


def test_the_picture_of_a_run() -> None:
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=100, _environ={})
    view = LiveView(Curves(), 1, screen)
    with view:
        for response in Watched()._messages(0):
            kind = response.WhichOneof("event")
            if kind == "points":
                metric = response.points.metrics[0]
                view.show(MetricPoints((Metric(metric.key, metric.value, 5, metric.step),), ""))
        view.show(MetricPoints((Metric("acc", math.nan, 5, 1),), ""))
    picture = out.getvalue()
    row = next(line for line in picture.splitlines() if "loss" in line)
    assert "▁" in row
    assert "█" in row
    assert row.split()[-5:] == ["9", "0", "9", "9", "10"]
    assert "acc" in picture


def test_curves_stay_small() -> None:
    curves = Curves()
    curves.add(Metric("k", math.sin(step / 100), 0, step) for step in range(100_000))
    curve = curves.by_key["k"]
    assert curve.count == 100_000
    assert len(curve.values) <= 512
    assert (round(curve.low, 3), round(curve.high, 3)) == (-1, 1)
    assert curve.last.step == 99_999


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        ([1.0], "▁"),
        ([0.0, 7.0], "▁█"),
        ([math.nan, 1.0, math.inf], "·▁·"),
        ([math.nan], "·"),
        ([-1.7e308, 1.7e308], "▁█"),
        ([float(i) for i in range(100)], "▁▂▄▅█"),
    ],
)
def test_sparklines(values: list[float], line: str) -> None:
    assert sparkline(values, 5) == line
