"""Files through this server, through MLflow's, and by `cp` and `sha256sum`."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from mlflow_grpc import Client
from tests.benchmarks.processes import grpc_process, rest_server
from tests.benchmarks.seeding import database_uri

__all__ = ["Size", "measure_artifacts"]

MUST_UP = 4.0
"""How many times faster than MLflow's own proxy a large file must go up."""

MUST_DOWN = 1.0
MUST_SMALL = 10.0
MUST_MEMORY_MIB = 64
_MIB = 2**20


@dataclass(frozen=True)
class Size:
    """How much is moved."""

    large_bytes: int = 2**30
    small_files: int = 10_000
    small_files_mlflow: int = 2_000
    """MLflow sends these one by one, at the same rate however many they are."""
    rounds: int = 3


QUICK = Size(large_bytes=32 * _MIB, small_files=500, small_files_mlflow=100, rounds=1)


@dataclass
class _Rates:
    """What was read in each round: MB/s, or files/s."""

    read: dict[str, list[float]]

    def add(self, name: str, amount: float, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        self.read.setdefault(name, []).append(amount / (time.perf_counter() - start))

    def __getitem__(self, name: str) -> float:
        return statistics.median(self.read[name])


def measure_artifacts(*, quick: bool) -> str:
    """Measure, and return the table and the requirements as Markdown."""
    size = QUICK if quick else Size()
    rates = _Rates({})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-files-")))
        for name in ("this", "mlflow", "local"):
            (folder / name).mkdir()
        _say(f"artifacts: making a file of {size.large_bytes // _MIB} MiB and small ones")
        large, small, fewer = _make_files(folder / "local", size)
        url = stack.enter_context(rest_server(folder / "mlflow", serve_artifacts=True))
        address, pid = stack.enter_context(
            grpc_process(
                folder / "this",
                database_uri(folder / "this"),
                *("--default-artifact-root", "mlflow-artifacts:/"),
            )
        )
        client = stack.enter_context(Client(address))
        _warm_up(client, small)
        theirs = MlflowClient(url, url)
        local = folder / "local"
        memory_before = _peak_mib(pid)
        for number in range(size.rounds):
            _say(f"artifacts: round {number + 1} of {size.rounds}")
            _copy(local, large, rates)
            _ours_large(client, local, large, rates)
            _ours_small(client, local, small, rates)
            _theirs_large(theirs, local, large, rates)
        grown = _peak_mib(pid) - memory_before
        _say("artifacts: small files through MLflow's own server")
        _theirs_small(theirs, local, fewer, rates)
    return "\n\n".join([_table(rates), _musts(rates, grown)])


def _make_files(folder: Path, size: Size) -> tuple[Path, Path, Path]:
    large = folder / "large.bin"
    with large.open("wb") as file:
        for _ in range(size.large_bytes // _MIB):
            file.write(os.urandom(_MIB))
    folders = []
    for name, count in (("small", size.small_files), ("fewer", size.small_files_mlflow)):
        (folder / name).mkdir()
        for number in range(count):
            (folder / name / f"{number:05}").write_bytes(os.urandom(1024))
        folders.append(folder / name)
    os.sync()
    return large, folders[0], folders[1]


def _warm_up(client: Client, small: Path) -> None:
    run = client.start_run()
    run.log_artifacts(small)
    shutil.rmtree(run.download_artifacts())


def _copy(folder: Path, large: Path, rates: _Rates) -> None:
    copy = folder / "copy"

    def copy_and_hash() -> None:
        subprocess.run(["cp", str(large), str(copy)], check=True)
        subprocess.run(["sha256sum", str(copy)], check=True, stdout=subprocess.DEVNULL)

    _touch_memory(folder, large)
    rates.add("cp", _megabytes(large), copy_and_hash)
    copy.unlink()


def _ours_large(client: Client, folder: Path, large: Path, rates: _Rates) -> None:
    run = client.start_run()
    out = folder / "out"
    _touch_memory(folder, large)
    rates.add("up", _megabytes(large), lambda: run.log_artifact(large))
    _touch_memory(folder, large)
    rates.add("down", _megabytes(large), lambda: run.download_artifacts(large.name, out))
    shutil.rmtree(out)


def _ours_small(client: Client, folder: Path, small: Path, rates: _Rates) -> None:
    run = client.start_run()
    out = folder / "out"
    count = len(list(small.iterdir()))
    rates.add("small up", count, lambda: run.log_artifacts(small, "small"))
    rates.add("small down", count, lambda: run.download_artifacts("small", out))
    shutil.rmtree(out)


def _theirs_large(client: MlflowClient, folder: Path, large: Path, rates: _Rates) -> None:
    run_id = client.create_run("0").info.run_id
    out = folder / "out"
    out.mkdir()
    _touch_memory(folder, large)
    rates.add("mlflow up", _megabytes(large), lambda: client.log_artifact(run_id, str(large)))
    _touch_memory(folder, large)
    rates.add(
        "mlflow down",
        _megabytes(large),
        lambda: client.download_artifacts(run_id, large.name, str(out)),
    )
    shutil.rmtree(out)


def _theirs_small(client: MlflowClient, folder: Path, small: Path, rates: _Rates) -> None:
    run_id = client.create_run("0").info.run_id
    out = folder / "out"
    out.mkdir()
    count = len(list(small.iterdir()))
    rates.add("mlflow small up", count, lambda: client.log_artifacts(run_id, str(small), "small"))
    rates.add(
        "mlflow small down", count, lambda: client.download_artifacts(run_id, "small", str(out))
    )


def _touch_memory(folder: Path, large: Path) -> None:
    """Give every contender memory that was in use just now.

    A virtual machine hands free memory back to its host and gets it again slowly, page by page:
    whoever is measured first would pay for that.
    """
    scratch = folder / "scratch"
    with scratch.open("wb") as file:
        for _ in range(2 * large.stat().st_size // _MIB):
            file.write(bytes(_MIB))
    scratch.unlink()


def _table(rates: _Rates) -> str:
    lines = [
        "| files | this | MLflow's server | this / MLflow | cp + sha256sum | this / cp |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, unit in (("up", "MB/s"), ("down", "MB/s")):
        ours, theirs, copy = rates[name], rates[f"mlflow {name}"], rates["cp"]
        lines.append(
            f"| one large file {name} | {ours:.0f} {unit} | {theirs:.0f} {unit} | "
            f"{ours / theirs:.1f} | {copy:.0f} {unit} | {ours / copy:.2f} |"
        )
    for name in ("up", "down"):
        ours, theirs = rates[f"small {name}"], rates[f"mlflow small {name}"]
        lines.append(
            f"| files of 1 KiB {name} | {ours:,.0f} files/s | {theirs:,.0f} files/s | "
            f"{ours / theirs:.1f} | | |"
        )
    return "\n".join(lines)


def _musts(rates: _Rates, grown: float) -> str:
    wanted: Sequence[tuple[str, str, bool]] = [
        *(
            (
                f"one large file {name} at least as fast as cp + sha256sum",
                f"{rates[name] / rates['cp']:.2f} times",
                rates[name] >= rates["cp"],
            )
            for name in ("up", "down")
        ),
        *(
            (
                f"{label} at least {most:g} times MLflow's server",
                f"{rates[name] / rates[f'mlflow {name}']:.1f} times",
                rates[name] >= most * rates[f"mlflow {name}"],
            )
            for label, name, most in (
                ("one large file up", "up", MUST_UP),
                ("one large file down", "down", MUST_DOWN),
                ("files of 1 KiB up", "small up", MUST_SMALL),
            )
        ),
        (
            f"the server's memory grows by less than {MUST_MEMORY_MIB} MiB",
            f"{grown:.0f} MiB",
            grown < MUST_MEMORY_MIB,
        ),
    ]
    return "\n".join(
        f"- must: {what}: {read}, {'met' if met else 'NOT met'}" for what, read, met in wanted
    )


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6


def _peak_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel tells no peak of memory")


def _say(text: str) -> None:
    """Progress, apart from the report."""
    print(text, file=sys.stderr, flush=True)
