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
from typing import Any

__all__ = ["REQUIREMENTS_FILE", "Environment", "capture", "source_tags"]

REQUIREMENTS_FILE = "environment/requirements.txt"

_GIT_SECONDS = 10
_MOST_COMMAND = 4000
# How the names of secrets end.
_SECRETS = (
    *("password", "passwd", "pwd", "passphrase", "secret", "token", "credential", "auth"),
    *("authorization", "apikey", "accesskey", "secretkey", "privatekey", "accesscode"),
)
_KEY = "key"
# The last word of a name, as more of them is in many that are none, such as pin-memory.
_LAST_WORDS = (
    *("pass", "passcode", "pw", "jwt", "bearer", "cookie", "sig", "signature", "otp", "pin"),
)
# A name and what sets it off from its value, as in options, variables, headers and JSON.
_NAMED = re.compile(r"""(?<![\w.-])([\w.-]+)["']?\s*[=:]""")
_LOGIN = re.compile(r"""((?:(?<![A-Za-z0-9+.-])[A-Za-z0-9+.-]+:|(?<![^\s=,'"]))//)[^/\s?#]*@""")
# What git takes for user:password@host:path.
_SCP_LOGIN = re.compile(r"[^/:@\s]+:[^\s]*@(?=[^/:@\s]+:)")


@dataclass(frozen=True)
class Environment:
    """The tags of a run, as MLflow names them, and its installed packages."""

    tags: dict[str, str] = field(default_factory=dict)
    requirements: str = ""


def capture() -> Environment:
    """What this process is: for a run that it starts. Takes about as long as `git status`."""
    tags = {
        **source_tags(),
        "mlflow.source.git.dirty": _dirty(_folder()),
        "environment.python_version": platform.python_version(),
        "environment.platform": platform.platform(),
        "environment.command_line": _command_line(),
    }
    return Environment({key: value for key, value in tags.items() if value}, _requirements())


def source_tags() -> dict[str, str]:
    """Who runs what: the tags that a run started by MLflow has, in the same order."""
    shell = _notebook_shell()
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.name": _notebook_name(shell) or _program() or "<console>",
        "mlflow.source.type": "LOCAL" if shell is None else "NOTEBOOK",
        **_git(_folder()),
    }
    return {key: value for key, value in tags.items() if value}


def _program() -> str:
    return sys.argv[0] if sys.argv else ""


def _folder() -> Path:
    script = Path(_program())
    # The program of a notebook is its kernel.
    here = _notebook_shell() is not None or not script.is_file()
    return Path.cwd() if here else script.resolve().parent


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


def _notebook_shell() -> Any:
    """The shell of the notebook that this code runs in, None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    # In a terminal it has no kernel.
    return shell if hasattr(shell, "kernel") else None


def _notebook_name(shell: Any) -> str:
    # Where Visual Studio Code leaves it; others leave it nowhere but in variables.
    path = {} if shell is None else shell.user_ns
    return os.path.basename(str(path.get("__vsc_ipynb_file__", "")))


def _command_line() -> str:
    arguments = list(getattr(sys, "orig_argv", sys.argv))
    before = ["", *arguments]
    shown = [
        "***" if _hands_over_a_secret(option) else _without_secrets(argument[:_MOST_COMMAND])
        for option, argument in zip(before, arguments, strict=False)
    ]
    return shlex.join(shown)[:_MOST_COMMAND]


def _hands_over_a_secret(option: str) -> bool:
    """Whether the next argument is the value of an option that is named like a secret."""
    return option.startswith("-") and not _NAMED.search(option) and _names_a_secret(option)


def _without_secrets(argument: str) -> str:
    """An argument up to a value that is named like a secret, with no logins in URLs."""
    for named in _NAMED.finditer(argument):
        if _names_a_secret(named[1]):
            return _without_login(argument[: named.end()]) + "***"
    return _without_login(argument)


def _names_a_secret(name: str) -> bool:
    # API_KEY, apiKey and api-key are all of the words api and key.
    words = re.findall("[a-z]+", re.sub("([a-z])([A-Z])", r"\1 \2", name).lower())
    words = list(map(_singular, words))
    if any(word == _KEY or word.endswith(_SECRETS) for word in words):
        return True
    return words[-2:] == ["access", "code"] or bool(words and words[-1] in _LAST_WORDS)


def _singular(word: str) -> str:
    # Tokens are counted, as in max-tokens.
    return word if word == "tokens" or word.endswith("ss") else word.removesuffix("s")


def _git(folder: Path) -> dict[str, str]:
    commit = _commit(folder)
    if not commit:
        return {}
    remotes = _ask_git(folder, "config", "--get-regexp", r"^remote\..*\.url$")
    return {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": _ask_git(folder, "symbolic-ref", "--short", "--quiet", "HEAD"),
        "mlflow.source.git.repoURL": _repository(remotes.partition("\n")[0].partition(" ")[2]),
    }


def _repository(remote: str) -> str:
    """Where a repository is, without what lets one in."""
    if "://" not in remote and not remote.startswith("//"):
        return _SCP_LOGIN.sub("", remote, count=1)
    return re.split("[?#]", _without_login(remote), maxsplit=1)[0]


def _commit(folder: Path) -> str:
    # A program in a folder that git is to ignore, such as `.venv`, is not of that commit.
    if _ask_git(folder, "check-ignore", "."):
        return ""
    return _ask_git(folder, "rev-parse", "HEAD")


def _dirty(folder: Path) -> str:
    if not _commit(folder):
        return ""
    return "true" if _ask_git(folder, "status", "--porcelain", "--untracked-files=no") else "false"


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
    """A text without the users and passwords in its URLs."""
    return _LOGIN.sub(r"\1", text)


def _requirements() -> str:
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found[name.lower()] = f"{name}=={distribution.version}"
    return "".join(f"{found[name]}\n" for name in sorted(found))
