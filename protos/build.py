"""Generates the stubs, and checks them and the protos. Run by `make`, in its codegen environment.

buf reads descriptor images that protoc builds, so that nothing is downloaded.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STUBS = {
    "mlflow_grpc/v1": ROOT / "clients/python/src",
    # A protocol of others: its stubs stay out of the client, beside which users have their own.
    "mlflow_grpc_server/inference": ROOT / "server",
}
SITE_PACKAGES = Path(str(distribution("googleapis-common-protos").locate_file("")))
BUF = os.environ.get("BUF", str(ROOT / ".venv/bin/buf"))
STATES_COMPARED = 20


def protoc(source: Path, package: str, *options: str) -> None:
    """Run protoc over the protos of a package below `source`."""
    files = sorted(str(path.relative_to(source)) for path in source.glob(f"{package}/*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{source}", f"-I{SITE_PACKAGES}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    subprocess.run(
        [*command, *options, *files], check=True, cwd=source, env={**os.environ, "PATH": path}
    )


def generate(package: str, target: Path) -> None:
    """Write the stubs of a package into `target`."""
    folder = target / package
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.iterdir():
        if "_pb2" in stale.name:
            stale.unlink()
    name = package.replace("/", ".")
    (folder / "__init__.py").write_text(f'"""Generated stubs of {name}."""\n')
    protoc(
        PROTOS,
        package,
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
    )
    # Made for files without services too; they say nothing.
    for path in folder.glob("*_pb2_grpc.py*"):
        if "Stub" not in path.read_text():
            path.unlink()


def check(package: str, target: Path) -> None:
    """Fail unless the committed stubs of a package are what the protos give."""
    with tempfile.TemporaryDirectory() as folder:
        generate(package, Path(folder))
        fresh, kept = Path(folder) / package, target / package
        names = {path.name for place in (fresh, kept) for path in place.glob("*.py*")}
        _, differing, missing = filecmp.cmpfiles(fresh, kept, sorted(names), shallow=False)
    if differing or missing:
        raise SystemExit(f"stubs are stale, run `make protos`: {', '.join(differing + missing)}")
    tracked = {Path(name).name for name in git("ls-files", "--", str(kept)).split()}
    if untracked := sorted(names - tracked):
        raise SystemExit(f"stubs of `make protos` that git does not track: {', '.join(untracked)}")


def build_image(source: Path, target: Path) -> None:
    """Write the descriptor image of this project's protos below `source`."""
    options = ("--include_imports", "--include_source_info", f"--descriptor_set_out={target}")
    protoc(source, "mlflow_grpc/v1", *options)


def buf(*arguments: str) -> None:
    """Run buf with this project's rules."""
    command = [BUF, *arguments, "--config", str(PROTOS / "buf.yaml")]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise SystemExit(f"buf {arguments[0]} found faults")


def lint() -> None:
    """Fail on what buf's STANDARD and COMMENTS rules refuse."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "now.binpb"
        build_image(PROTOS, image)
        buf("lint", str(image), "--path", "mlflow_grpc")


def git(*arguments: str) -> str:
    """Return what git prints."""
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def breaking() -> None:
    """Fail if the protos break a caller of an earlier committed state of them."""
    base = os.environ.get("BUF_BASE")
    revisions = (
        [base]
        if base
        else git("rev-list", f"-{STATES_COMPARED}", "HEAD", "--", "protos/mlflow_grpc").split()
    )
    with tempfile.TemporaryDirectory() as folder:
        now = Path(folder) / "now.binpb"
        build_image(PROTOS, now)
        for revision in revisions:
            before = Path(folder) / revision.replace("/", "-")
            before.mkdir()
            archive = subprocess.run(
                ["git", "archive", revision, "protos"], cwd=ROOT, check=True, capture_output=True
            ).stdout
            subprocess.run(["tar", "-x", "-C", str(before)], input=archive, check=True)
            image = Path(folder) / f"{before.name}.binpb"
            build_image(before / "protos", image)
            buf("breaking", str(now), "--against", str(image), "--path", "mlflow_grpc")
    print(f"protos break nothing of {len(revisions)} earlier states")


def for_each_package(do: Callable[[str, Path], None]) -> None:
    """Do something for each package of stubs."""
    for package, target in STUBS.items():
        do(package, target)


def main() -> None:
    """Run the command that is asked for."""
    commands = {
        "generate": lambda: for_each_package(generate),
        "check": lambda: for_each_package(check),
        "lint": lint,
        "breaking": breaking,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=commands)
    commands[parser.parse_args().command]()


if __name__ == "__main__":
    main()
