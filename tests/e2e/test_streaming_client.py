"""The client's stream through real faults: every point is in the database once."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from mlflow_grpc import Client, MetricPoints
from tests.databases import sqlite_uri
from tests.e2e.trainer import expected_rows
from tests.proxy import FaultyProxy
from tests.servers import ServerProcess, free_port


def serve(folder: Path, port: int = 0) -> ServerProcess:
    folder.mkdir(exist_ok=True)
    return ServerProcess(folder, "--backend-store-uri", sqlite_uri(folder.parent), port=port)


def rows(database: Path, run_id: str) -> list[tuple[str, float, int, int]]:
    """Every stored point of a run, by step."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(
            "SELECT key, value, timestamp, step FROM metrics WHERE run_uuid = ? ORDER BY step",
            (run_id,),
        ).fetchall()


def count(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])


def wait_for(condition: Callable[[], bool], seconds: float = 600) -> None:
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it never came")


def train(address: str, run_id: str, points: int, flush_every: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.e2e.trainer"),
            *(address, run_id, str(points), str(flush_every)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(trainer: subprocess.Popen[str]) -> str:
    """What a trainer printed last."""
    out, err = trainer.communicate(timeout=600)
    assert (trainer.returncode, err) == (0, "")
    return out.splitlines()[-1]


def start_runs(address: str, number: int) -> list[str]:
    with Client(address) as client:
        client.wait_until_ready(60)
        return [client.create_run("0").info.run_id for _ in range(number)]


def kill_the_server(tmp_path: Path, kills: int, trainers: int, points: int) -> None:
    """SIGKILL at random moments of the stream; each time it is started again on its port.

    Somebody watches one of the runs, and sees every point once.
    """
    chance = random.Random(kills)
    database, port = tmp_path / "mlflow.db", free_port()
    total = trainers * points
    moments = sorted(chance.sample(range(total // 50, total * 9 // 10), kills))
    with ExitStack() as stack:
        server = stack.enter_context(serve(tmp_path / "server", port))
        run_ids = start_runs(server.address, trainers)
        watched: list[int] = []
        watcher = threading.Thread(
            target=watch, args=(server.address, run_ids[0], watched), daemon=True
        )
        watcher.start()
        running = [
            stack.enter_context(train(server.address, run_id, points, points)) for run_id in run_ids
        ]
        for moment in moments:
            wait_for(lambda moment=moment: count(database) >= moment)  # type: ignore[misc]
            server.signal(signal.SIGKILL)
            server.wait()
            server = stack.enter_context(serve(tmp_path / "server", port))
        for trainer in running:
            finish(trainer)
        for run_id in run_ids:
            assert rows(database, run_id) == expected_rows(points)
        with Client(server.address) as client:
            client.wait_until_ready(60)
            client.end_run(run_ids[0])
        watcher.join(120)
        assert not watcher.is_alive(), f"the watcher has seen {len(watched)} points"
        assert sorted(watched) == list(range(points))


def watch(address: str, run_id: str, steps: list[int]) -> None:
    """Note the steps of a run's points as they come, until it ends."""
    with Client(address) as client:
        for event in client.watch_run(run_id, include_history=True, timeout=600):
            if isinstance(event, MetricPoints):
                steps.extend(point.step for point in event.metrics)


def test_a_server_killed_while_trainers_stream(tmp_path: Path) -> None:
    kill_the_server(tmp_path, kills=2, trainers=2, points=20_000)


@pytest.mark.slow
def test_a_server_killed_20_times_while_4_trainers_stream_100_000_points_each(
    tmp_path: Path,
) -> None:
    kill_the_server(tmp_path, kills=20, trainers=4, points=100_000)


def cut_the_connection(tmp_path: Path, trainers: int, points: int) -> None:
    with (
        serve(tmp_path / "server") as server,
        FaultyProxy(server.address, seed=points) as proxy,
        ExitStack() as stack,
    ):
        run_ids = start_runs(server.address, trainers)
        running = [
            stack.enter_context(train(proxy.address, run_id, points, 1000)) for run_id in run_ids
        ]
        for trainer in running:
            finish(trainer)
        assert proxy.faults["reset"] >= 1
        assert proxy.faults["delay"] >= 1
        for run_id in run_ids:
            assert rows(tmp_path / "mlflow.db", run_id) == expected_rows(points)


def test_a_connection_that_is_cut_and_delayed(tmp_path: Path) -> None:
    cut_the_connection(tmp_path, trainers=2, points=20_000)


@pytest.mark.slow
def test_a_connection_that_is_cut_delayed_and_stalled_for_long(tmp_path: Path) -> None:
    cut_the_connection(tmp_path, trainers=4, points=100_000)


def test_what_a_killed_trainer_was_told_is_there(tmp_path: Path) -> None:
    points, flush_every = 1_000_000, 500
    with serve(tmp_path / "server") as server:
        (run_id,) = start_runs(server.address, 1)
        with train(server.address, run_id, points, flush_every) as trainer:
            assert trainer.stdout is not None
            for line in trainer.stdout:
                if int(line) >= 5000:
                    break
            trainer.send_signal(signal.SIGKILL)
            told = [int(line) for line in trainer.stdout.read().splitlines() if line.endswith("0")]
        flushed = max([int(line), *told])
        stored = rows(tmp_path / "mlflow.db", run_id)
        assert len(stored) >= flushed >= 5000
        assert stored == expected_rows(len(stored))


def test_two_trainers_of_the_same_points_on_two_servers(tmp_path: Path) -> None:
    points = 10_000
    with serve(tmp_path / "one") as one, serve(tmp_path / "two") as two:
        (run_id,) = start_runs(one.address, 1)
        with (
            train(one.address, run_id, points, 1000) as first,
            train(two.address, run_id, points, 700) as second,
        ):
            for trainer in (first, second):
                assert f"acked={points}" in finish(trainer)
        assert rows(tmp_path / "mlflow.db", run_id) == expected_rows(points)
