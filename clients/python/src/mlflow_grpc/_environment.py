"""What a run is made with: code, machine and packages. Never the value of a variable.

Everything comes from the process itself and from git; what cannot be found out is left out.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

__all__ = ["REQUIREMENTS_FILE", "Environment", "capture"]

REQUIREMENTS_FILE = "environment/requirements.txt"

_GIT_SECONDS = 10
_MOST_COMMAND = 4000
_SECRET = re.compile(r"(pass(word|wd|phrase)?|secret|token|key|credential|auth)", re.IGNORECASE)


@dataclass(frozen=True)
class Environment:
    """The tags of a run, as MLflow names them, and its installed packages."""

    tags: dict[str, str] = field(default_factory=dict)
    requirements: str = ""


def capture() -> Environment:
    """What this process is: for a run that it starts. Takes about as long as `git status`."""
    program = sys.argv[0] if sys.argv else ""
    script = Path(program)
    folder = script.resolve().parent if script.is_file() else Path.cwd()
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.name": _source_name(program),
        "mlflow.source.type": "NOTEBOOK" if "ipykernel" in sys.modules else "LOCAL",
        "environment.python_version": platform.python_version(),
        "environment.platform": platform.platform(),
        "environment.command_line": _command_line(),
        **_git(folder),
    }
    return Environment({key: value for key, value in tags.items() if value}, _requirements())


def _user() -> str:
    try:
        import pwd
    except ImportError:
        # Windows has no such list; the folder of the user is named after them.
        return Path.home().name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _source_name(program: str) -> str:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return f"-m {spec.name.removesuffix('.__main__')}"
    return program or sys.executable


def _command_line() -> str:
    arguments = list(getattr(sys, "orig_argv", sys.argv))
    shown: list[str] = []
    for index, argument in enumerate(arguments):
        name, equals, _ = argument.partition("=")
        before = arguments[index - 1] if index else ""
        if equals and _SECRET.search(name):
            shown.append(f"{name}=***")
        elif before.startswith("-") and "=" not in before and _SECRET.search(before):
            shown.append("***")
        else:
            shown.append(_without_login(argument))
    return shlex.join(shown)[:_MOST_COMMAND]


def _git(folder: Path) -> dict[str, str]:
    commit = _ask_git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    branch = _ask_git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    url = _without_login(_ask_git(folder, "config", "--get", "remote.origin.url"))
    changed = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    # MLflow has two names for branch and URL, and its pages read both.
    return {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": "" if branch == "HEAD" else branch,
        "mlflow.gitBranch": "" if branch == "HEAD" else branch,
        "mlflow.source.git.repoURL": url,
        "mlflow.gitRepoURL": url,
        "mlflow.source.git.dirty": "true" if changed else "false",
    }


def _ask_git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _without_login(text: str) -> str:
    """A URL without the user and password in it; other text as it is."""
    if "://" not in text or "@" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return "***"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _requirements() -> str:
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found[name.lower()] = f"{name}=={distribution.version}"
    return "".join(f"{found[name]}\n" for name in sorted(found))
