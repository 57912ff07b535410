"""`python -m mlflow_grpc`, as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_grpc import Client
from tests.conftest import Served


def run(served: Served, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "mlflow_grpc",
            "--address",
            served.address,
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def two_runs(served: Served, unique: str) -> tuple[str, str]:
    ids = []
    with Client(served.address) as client:
        for name, rate, losses in (("slow", 0.01, (3.0, 2.0)), ("fast", 0.1, (1.0, 4.0))):
            with client.start_run(experiment_name=unique, run_name=name) as started:
                started.log_params({"lr": rate, "layers": 2})
                started.set_tag("team", name)
                for step, loss in enumerate(losses):
                    started.log_metric("loss", loss, step=step)
                started.log_metric("same", 1)
                ids.append(started.run_id)
    return ids[0], ids[1]


def test_experiments_and_runs(served: Served, two_runs: tuple[str, str], unique: str) -> None:
    assert unique in run(served, "experiments", "--filter", f"name = '{unique}'")
    listed = run(served, "runs", unique, "--order-by", "metrics.loss ASC")
    assert listed.index("slow") < listed.index("fast")
    (only,) = json.loads(run(served, "--json", "runs", unique, "--filter", "params.lr = '0.1'"))
    assert (only["info"]["run_id"], only["data"]["params"]["lr"]) == (two_runs[1], "0.1")


def test_compare(served: Served, two_runs: tuple[str, str]) -> None:
    lines = run(served, "compare", *two_runs).splitlines()
    rows = [line.split() for line in lines]
    for row in (
        ["lr", "0.01", "0.1"],
        ["team", "slow", "fast"],
        ["loss", "last", "2", "4"],
        ["loss", "min", "2", "1"],
        ["loss", "max", "3", "4"],
        ["loss", "best", "2", "1", "*"],
    ):
        assert row in rows, lines
    assert not [row for row in rows if row[:1] in (["layers"], ["same"])]
    assert "2 agree" in lines[-1]
    everything = run(served, "compare", "--all", "--goal", "loss=maximize", *two_runs)
    assert ["loss", "best", "3", "4", "*"] in [line.split() for line in everything.splitlines()]
    assert "layers" in everything


def test_artifacts(served: Served, two_runs: tuple[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("hello")
    run(served, "artifacts", "log", two_runs[0], str(folder), "deep")
    run(served, "artifacts", "log", two_runs[0], str(folder / "a.txt"))
    listed = run(served, "artifacts", "list", "-r", two_runs[0]).split()
    assert listed == ["path", "bytes", "a.txt", "5", "deep/", "0", "deep/a.txt", "5"]
    place = run(served, "artifacts", "get", two_runs[0], "deep", "--to", str(tmp_path / "out"))
    assert (Path(place.strip()) / "a.txt").read_text() == "hello"


def test_failures_are_one_line(served: Served) -> None:
    assert run(served, "artifacts", "list", "none", code=1).count("\n") == 1
    assert "no experiment" in run(served, "runs", "no such", code=1)
    assert "METRIC=" in run(served, "compare", "a", "b", "--goal", "x", code=1)
    run(served, "compare", code=2)
