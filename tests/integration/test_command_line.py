"""`python -m mlflow_grpc`."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest

from mlflow_grpc import Client
from mlflow_grpc._cli.main import main
from tests.conftest import Served

COMMAND = (sys.executable, "-W", "error", "-m", "mlflow_grpc")


def run(served: Served, *arguments: str, code: int = 0) -> str:
    """What the command prints, to stdout or, if it fails, to stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            ended = main(["--address", served.address, *arguments])
        except SystemExit as end:
            ended = int(end.code or 0)
    assert ended == code, stderr.getvalue()
    wanted, other = (stderr, stdout) if code else (stdout, stderr)
    assert other.getvalue() == ""
    return wanted.getvalue()


def as_process(served: Served, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [*COMMAND, "--address", served.address, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def on_terminal(served: Served, *arguments: str, columns: int = 80) -> str:
    """What a terminal of so many columns gets."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": f"{columns}"}
    with subprocess.Popen(
        [*COMMAND, *arguments, "--address", served.address],
        env=environment,
        stdin=follower,
        stdout=follower,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(follower)
        read = b""
        with suppress(OSError):  # How Linux says that nobody has the terminal open any more.
            while data := os.read(leader, 4096):
                read += data
        os.close(leader)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
    # Without the headings of rich.
    return re.sub(r"\x1b\[[013]m", "", read.decode())


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
    lines = as_process(served, "compare", *two_runs).splitlines()
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


def test_compare_tells_long_values_apart(served: Served) -> None:
    same = "s" * 100
    values = [same, f"{same}{'a' * 90}", f"{same}{'a' * 90}b", "other", f"{same}c"]
    with Client(served.address) as client:
        runs = [client.create_run("0") for _ in values]
        ids = [one.info.run_id for one in runs]
        for run_id, value in zip(ids, values, strict=True):
            client.log_params(run_id, {"long": value, "alike": same})
    (row,) = (
        line.split() for line in run(served, "compare", *ids).splitlines() if line[:4] == "long"
    )
    (alike,) = (
        line.split()
        for line in run(served, "compare", "--all", *ids).splitlines()
        if line[:5] == "alike"
    )
    ahead = "..." + "s" * 20
    assert row[1:] == [
        ahead,
        "..." + "a" * 20,
        "..." + "a" * 20 + "b",
        "other",
        f"{ahead}c",
    ]
    assert alike[1:] == ["s" * 60 + "..."] * len(values)


def test_compare_with_a_goal_of_no_metric(served: Served, two_runs: tuple[str, str]) -> None:
    for form in ((), ("--json",)):
        told = run(served, "compare", *two_runs, "--goal", "los=maximize", *form, code=1)
        assert "no run has a metric 'los'" in told


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


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("", 2, "COMMAND"),
        ("bogus", 2, "invalid choice: 'bogus'"),
        ("--bogus runs", 2, "bogus"),
        ("artifacts", 2, "COMMAND"),
        ("artifacts list", 2, "RUN"),
        ("runs 0 more", 2, "unrecognized arguments: more"),
        ("runs --max x", 2, "invalid int value: 'x'"),
        ("runs --max -1", 1, "-1"),
        ("runs --view gone", 2, "invalid choice: 'gone'"),
        ("runs --filter ~", 1, "filter"),
        ("runs --order-by ~", 1, "order_by"),
        ("runs none", 1, "no experiment 'none'"),
        ("runs 777777", 1, "no experiment '777777'"),
        ("experiments --filter ~", 1, "filter"),
        ("compare", 2, "RUN"),
        ("compare a", 1, "at least 2 runs"),
        ("compare a b", 1, "no run 'a'"),
        ("compare a b --goal x", 1, "METRIC=minimize|maximize"),
        ("compare a b --goal x=up", 1, "METRIC=minimize|maximize"),
        ("compare a b --goal =maximize", 1, "METRIC=minimize|maximize"),
        ("artifacts list none", 1, "no run 'none'"),
        ("artifacts list models:/none/1", 1, "no model version 'none/1'"),
        ("artifacts list models:/", 1, "model_uri"),
        ("artifacts get none x", 1, "no run 'none'"),
        ("artifacts log none /nonexistent", 1, "/nonexistent"),
        ("artifacts log none /dev/null", 1, "no regular file"),
        ("runs --address 127.0.0.1:1", 1, "UNAVAILABLE"),
        ("runs --address nonsense::1", 1, "UNAVAILABLE"),
        ("watch none", 1, "no run 'none'"),
    ],
)
def test_failures_are_one_line(served: Served, arguments: str, code: int, words: str) -> None:
    told = run(served, *arguments.split(), code=code)
    assert told.startswith("python -m mlflow_grpc")
    assert words in told
    assert told.count("\n") == 1
    assert told.endswith("\n")


def test_help(served: Served) -> None:
    for arguments in (
        (),
        ("experiments",),
        ("runs",),
        ("compare",),
        ("artifacts",),
        *(("artifacts", below) for below in ("list", "log", "get")),
    ):
        told = run(served, *arguments, "--help")
        assert told.startswith(" ".join(("usage: python -m mlflow_grpc", *arguments)))
        assert arguments in ((), ("artifacts",)) or "--json" in told
    assert run(served, "--version").startswith("mlflow-grpc 0.")


def test_options_may_follow_the_command(served: Served, two_runs: tuple[str, str]) -> None:
    before = run(served, "--json", "compare", *two_runs)
    assert run(served, "compare", *two_runs, "--json") == before
    assert len(json.loads(before)["runs"]) == 2
    told = run(served, "--address", "127.0.0.1:1", "runs", "--address", served.address)
    assert told.startswith("run ")


def test_deleted_ones_are_shown_if_asked_for(served: Served, unique: str) -> None:
    with Client(served.address) as client:
        experiment_id = client.create_experiment(unique)
        assert run(served, "runs", unique) == "run  name  status  started\n"
        assert run(served, "runs", unique, "--json") == "[]\n"
        kept, gone = (client.create_run(experiment_id).info.run_id for _ in range(2))
        client.delete_run(gone)
        only = ("--filter", f"name = '{unique}'")
        for view, expected in (("active_only", {kept}), ("all", {kept, gone})):
            told = run(served, "runs", unique, "--view", view)
            assert {line.split()[0] for line in told.splitlines()[1:]} == expected
        client.delete_experiment(experiment_id)
        assert unique not in run(served, "experiments", *only)
        assert unique in run(served, "experiments", "--view", "deleted_only", *only)
        for name in (unique, experiment_id):
            assert kept not in run(served, "runs", name)
            assert kept in run(served, "runs", name, "--view", "all")


@pytest.fixture
def odd_runs(served: Served, unique: str) -> tuple[str, str]:
    """Names, keys and values that tables are broken by."""
    ids = []
    with Client(served.address) as client:
        for name in ("日本 [red]語[/red]", "x" * 250):
            with client.start_run(experiment_name=unique, run_name=name) as started:
                started.log_params({"long": name[0] * 6000, "lines": f"a\nb\t{name[0]}\x1b[31mRED"})
                started.set_tag("emoji", f"👩\u200d🔬 \u202e {name[0]}")
                started.log_metrics({f"m{number:02}": number for number in range(12)})
                started.log_metric("not", float("nan"))
                started.log_text("x", f"日本/[b]{'z' * 200}[/b].txt")
                ids.append(started.run_id)
    return ids[0], ids[1]


def test_odd_values_do_not_break_tables(
    served: Served, odd_runs: tuple[str, str], unique: str
) -> None:
    lines = run(served, "runs", unique).splitlines()
    assert len(lines) == 4
    assert lines[-1] == "5 more metrics are left out; --json shows them"
    assert "日本 [red]語[/red]" in lines[2]
    # Columns begin where they do whatever is before them: a wide letter takes two places.
    assert lines[0].index("status") == lines[1].index("FINISHED")
    assert lines[0].index("status") == lines[2].index("FINISHED") + 3
    told = run(served, "compare", *odd_runs)
    assert not {"\x1b", "\t", "\u202e"}.intersection(told)
    assert r"a\nb\t日\x1b[31mRED" in told
    assert "👩\u200d🔬" in told
    assert max(map(len, told.splitlines())) < 250
    assert not [line for line in told.splitlines() if line != line.rstrip()]
    listed = run(served, "artifacts", "list", "-r", odd_runs[0])
    assert f"日本/[b]{'z' * 200}[/b].txt" in listed
    (found, _) = json.loads(run(served, "runs", unique, "--order-by", "start_time", "--json"))
    assert found["data"]["metrics"]["not"] == "NaN"
    assert found["data"]["params"]["lines"] == "a\nb\t日\x1b[31mRED"
    assert len(found["data"]["params"]["long"]) == 6000


def test_tables_on_a_terminal(served: Served, odd_runs: tuple[str, str], unique: str) -> None:
    for arguments in (("runs", unique), ("compare", *odd_runs), ("artifacts", "list", odd_runs[0])):
        told = on_terminal(served, *arguments, columns=120)
        assert "日" in told
        assert "\x1b" not in told
        assert max(map(len, told.splitlines())) <= 120
        # What is copied from a table is whole.
        assert arguments[0] != "runs" or {one for one in odd_runs if one in told} == set(odd_runs)


@pytest.mark.parametrize("columns", [80, 100, 120, 200])
def test_runs_on_a_terminal_have_the_metrics_that_have_room(
    served: Served, unique: str, columns: int
) -> None:
    with Client(served.address) as client:
        experiment_id = client.create_experiment(unique)
        started = client.create_run(experiment_id, run_name="righteous-shrimp-12")
        old = client.create_run(experiment_id, start_time=10**12)
        keys = [f"m{number:02}" for number in range(12)]
        for key in keys:
            client.log_metric(started.info.run_id, key, 0.123456)
    head, *lines = on_terminal(served, "runs", unique, columns=columns).splitlines()
    shown = [word for word in head.split() if word in keys]
    assert head.split() == ["run", "name", "status", "started", *shown]
    line = next(line for line in lines if started.info.run_id in line)
    assert re.search(r" RUNNING +\d\d-\d\d \d\d:\d\d", line)
    assert next(line for line in lines if old.info.run_id in line).split()[-1] == "2001-09-09"
    assert line.split().count("0.123456") == len(shown) == {80: 1, 100: 2, 120: 4, 200: 12}[columns]
    if len(shown) < len(keys):
        assert lines[-1].startswith(f"{len(keys) - len(shown)} more metrics are left out")
    assert ("righteous-shrimp-12" in line) is (columns >= 100)
    assert max(map(len, (head, *lines))) <= columns


def test_a_reader_may_stop_reading(served: Served, odd_runs: tuple[str, str], unique: str) -> None:
    """As `head` does."""
    program = f"{shlex.join([*COMMAND, '--address', served.address, 'runs', unique, '--json'])}"
    done = subprocess.run(
        ["bash", "-c", f"{program} | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_letters_that_a_terminal_has_not(
    served: Served, odd_runs: tuple[str, str], unique: str
) -> None:
    told = as_process(served, "runs", unique, PYTHONIOENCODING="ascii")
    assert r"\u65e5\u672c" in told
