"""The README's commands and programs, run word for word against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mlflow_grpc import Client
from mlflow_grpc_server.cli import main
from tests.servers import ServerProcess

README = Path(__file__).parents[2] / "README.md"
ADDRESS = "127.0.0.1:50051"
BUF = ".venv/bin/buf"
REFUSED = "RunService/GetRun"
"""The one call of the README that is meant to fail."""

SERVICES = (
    "grpc.channelz.v1.Channelz",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
    "mlflow_grpc.v1.ExperimentService",
    "mlflow_grpc.v1.ModelRegistryService",
    "mlflow_grpc.v1.ModelServingService",
    "mlflow_grpc.v1.RunService",
    "mlflow_grpc.v1.StatusService",
)

KEY_OUTPUT = {
    "--list-services": SERVICES,
    "ExperimentService/CreateExperiment": ('"experimentId"', '"name": "tour"'),
    "ExperimentService/StartRun": ('"runId"', '"RUN_STATUS_RUNNING"'),
    "RunService/SearchRuns": ('"runName": "first"',),
    "ModelRegistryService/CreateRegisteredModel": ('"name": "tour-model"',),
    "StatusService/GetHealth": ('"HEALTH_STATE_HEALTHY"', '"COMPONENT_TRACKING_STORE"'),
    "Health/Check": ('"SERVING"',),
    "RunService/GetRun": ('"not_found"', "There is no run 'none'.", "google.rpc.ErrorInfo"),
    "Channelz/GetServers": ('"callsSucceeded"',),
}

PYTHON_OUTPUT = {
    "python-tour": "FINISHED {'layers': '2', 'lr': '0.01'} {'loss': 0.3333333333333333}\nStaging\n",
    "streaming-tour": "1000 points are stored\n1 True\n",
    "watching-tour": "RunSnapshot FINISHED\n[('loss', 1, 0.5)]\nRunEnd FINISHED\n",
    "asyncio-tour": "FINISHED {'accuracy': 0.8, 'loss': 0.5}\n",
    "NotFoundError": "RUN_NOT_FOUND none ",
    "iris-tour": "[0]\n[0, 2]\n",
    "paging-tour": "[0.0, 1.0, 2.0]\n",
    "files-tour": (
        "model/labels.txt 8\nmodel/weights.bin 1048576\n['cat', 'dog']\nb'  \"classes\":'\n"
    ),
}


def blocks(language: str) -> list[str]:
    """Return the README's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[str]:
    """Return the README's command lines that start with `program`."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith(program + " ")]


def as_buf_curl(grpcurl: str) -> str:
    """Return the `buf curl` command that does what a `grpcurl` command does."""
    head = f"{BUF} curl --http2-prior-knowledge --protocol grpc"
    options, _, rest = grpcurl.removeprefix("grpcurl -plaintext ").partition(ADDRESS)
    verb, _, name = rest.strip().partition(" ")
    if verb == "list":
        return f"{head} --list-services http://{ADDRESS}"
    if verb == "describe":
        return f"{head} --list-methods http://{ADDRESS} | grep -F {name}"
    return f"{head} {options}http://{ADDRESS}/{verb}"


def run_shell(command: str, address: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the README on the server at `address`."""
    buf = str(Path(sys.executable).parent / "buf")
    command = command.replace(ADDRESS, address).replace(BUF, buf)
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README's reader stands."""
    return tmp_path_factory.mktemp("readme")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """A fresh server, started as the README's reader starts it."""
    with ServerProcess(folder) as server:
        yield server.address


def test_buf_curl_tour(address: str) -> None:
    """Every command of the tour does what the README says, in its order."""
    unseen = set(KEY_OUTPUT)
    for command in commands(BUF):
        done = run_shell(command, address)
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == (REFUSED in command), f"{command}\n{output}"
        (key,) = (key for key in KEY_OUTPUT if key in command)
        assert [text for text in KEY_OUTPUT[key] if text not in output] == [], output
        unseen.discard(key)
    assert not unseen


def test_stream_by_hand(address: str) -> None:
    """The block that streams to a run and watches it, as one script."""
    (script,) = (block for block in blocks("sh") if "StreamMetrics" in block)
    done = run_shell(script, address)
    assert done.returncode == 0, done.stderr
    for said in (
        '"maxMessagesInFlight"',
        '"sequence": "2"',
        '"snapshot"',
        '"value": 0.25',
        '"end"',
    ):
        assert said in done.stdout


def test_services_are_those_listed(address: str) -> None:
    """The list of services in the README is whole."""
    (listed,) = (block for block in blocks("text") if block.startswith("grpc.channelz"))
    (command,) = (line for line in commands(BUF) if "--list-services" in line)
    assert run_shell(command, address).stdout == listed
    assert tuple(listed.split()) == SERVICES


def test_grpcurl_tour(address: str) -> None:
    """The calls of the grpcurl tour work; made through buf, which every test machine has."""
    lines = commands("grpcurl")
    assert len(lines) == 8
    for line in lines:
        done = run_shell(as_buf_curl(line), address)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip()
        if " list" not in line and " describe" not in line:
            json.loads(done.stdout)


@pytest.mark.parametrize("name", PYTHON_OUTPUT)
def test_python_tour(address: str, name: str, tmp_path: Path) -> None:
    """Each program of the Python tour prints what it should."""
    (program,) = (block for block in blocks("python") if name in block)
    # MLflow warns of things of its own, of how it stores models for one.
    quiet = {"PYTHONWARNINGS": "ignore", "MLFLOW_LOGGING_LEVEL": "ERROR"}
    strict = {"PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", program.replace(ADDRESS, address)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, **(quiet if "import mlflow." in program else strict)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(PYTHON_OUTPUT[name]), done.stdout
    assert done.stderr == ""


def test_command_line_tour(address: str, tmp_path: Path) -> None:
    """Each command works as it is written, with a run for each `RUN` and `OTHER_RUN`."""
    with Client(address) as client:
        runs = [client.start_run(experiment_name="files-tour") for _ in range(2)]
        for number, run in enumerate(runs):
            run.log_metric("loss", number)
            run.end()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"weights")
    lines = commands("python -m mlflow_grpc")
    assert len(lines) == 6
    for line in lines:
        ids = iter([run.run_id for run in runs])
        done = subprocess.run(
            re.sub(r"\b(OTHER_)?RUN\b", lambda match, ids=ids: next(ids), line).replace(
                "python", sys.executable, 1
            ),
            shell=True,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "MLFLOW_GRPC_ADDRESS": address},
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, ""), line
        assert done.stdout, line
    assert (tmp_path / "here" / "model" / "weights").read_bytes() == b"weights"


def test_every_python_block_is_run() -> None:
    """No program of the README goes untested."""
    assert len(blocks("python")) == len(PYTHON_OUTPUT)


def test_configuration_table_is_complete() -> None:
    """Every flag is in the table, with its environment variables and its default."""
    rows = re.findall(r"^\| (`--.*) \|$", README.read_text(), re.MULTILINE)
    flags = [flag for row in rows for flag in re.findall(r"`(--[a-z-]+)`", row.split(" | ")[0])]
    context = click.Context(main, auto_envvar_prefix="MLFLOW_GRPC")
    options = [p for p in main.get_params(context) if isinstance(p, click.Option)]
    assert sorted(flags) == sorted(o for p in options for o in p.opts if o.startswith("--"))
    for option in options:
        if not option.show_envvar:
            continue
        (row,) = (row for row in rows if row.startswith(f"`{option.opts[0]}`"))
        variables = option.envvar or f"MLFLOW_GRPC_{str(option.name).upper()}"
        for variable in [variables] if isinstance(variables, str) else variables:
            assert f"`{variable}`" in row
        if isinstance(option.default, (str, int, float)) and not option.is_flag:
            assert f"| `{option.default}` |" in row
