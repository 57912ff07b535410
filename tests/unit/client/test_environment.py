"""What a notebook is taken for. Elsewhere whole programs are run for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlflow_grpc._environment import capture, source_tags


def in_shell(monkeypatch: pytest.MonkeyPatch, shell: object) -> dict[str, str]:
    """The tags in a shell of IPython, which is what `get_ipython` returns."""
    module = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", module)
    return source_tags()


def test_a_notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"__vsc_ipynb_file__": "/books/My Book.ipynb"}
    tags = in_shell(monkeypatch, SimpleNamespace(kernel=object(), user_ns=names))
    assert tags["mlflow.source.type"] == "NOTEBOOK"
    assert tags["mlflow.source.name"] == "My Book.ipynb"
    # The repository of the program that runs notebooks is not theirs.
    assert "mlflow.source.git.commit" not in tags
    tags = in_shell(monkeypatch, SimpleNamespace(kernel=object(), user_ns={}))
    assert (tags["mlflow.source.type"], tags["mlflow.source.name"]) == ("NOTEBOOK", sys.argv[0])


@pytest.mark.parametrize("shell", [None, SimpleNamespace(user_ns={})])
def test_no_notebook(monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    """IPython in a terminal, or imported and not running."""
    assert in_shell(monkeypatch, shell)["mlflow.source.type"] == "LOCAL"


def test_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [""])
    assert source_tags()["mlflow.source.name"] == "<console>"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--token", "hunter2"], "--token '***'"),
        (["--hf_token", "hunter2", "--lr", "1"], "--hf_token '***' --lr 1"),
        (["--db-password=hunter2"], "'--db-password=***'"),
        (["--apiKey=hunter2"], "'--apiKey=***'"),
        (["-e", "AWS_SECRET_ACCESS_KEY=hunter2"], "-e 'AWS_SECRET_ACCESS_KEY=***'"),
        (["-H", "Authorization: Bearer hunter2"], "-H 'Authorization:***'"),
        (['{"lr": 1, "password": "hunter2"}'], """'{"lr": 1, "password":***'"""),
        (["postgresql://me:hunter2@host/db"], "postgresql://host/db"),
        (["--db=postgresql://me:hunter2@host/db"], "--db=postgresql://host/db"),
        (["x=a,s3://id:hunter2@b/c,s3://hunter2@d/e"], "x=a,s3://b/c,s3://d/e"),
        (["s3://bucket/a@b", "git@host:org/x"], "s3://bucket/a@b git@host:org/x"),
        (["//me:hunter2@host/x", "--at=//hunter2@host"], "//host/x --at=//host"),
        *[
            ([f"--{name}", "hunter2", "--lr", "1"], f"--{name} '***' --lr 1")
            for name in (
                *("pass", "db-pass", "passcode", "pw", "jwt", "bearer", "session-cookie", "sig"),
                *("signature", "otp", "pin", "access-code", "accessCode", "ACCESS_CODE"),
            )
        ],
        (["--passwords=hunter2"], "'--passwords=***'"),
        (["--max-tokens", "512", "--jwts", "hunter2"], "--max-tokens 512 --jwts '***'"),
        (["-H", "Cookie: a=hunter2"], "-H 'Cookie:***'"),
        (["https://host/x?v=1&sig=hunter2&e=2"], "'https://host/x?v=1&sig=***'"),
        (["https://host/x?X-Amz-Signature=hunter2"], "'https://host/x?X-Amz-Signature=***'"),
        (["--pin-memory", "1", "--pass-through=x"], "--pin-memory 1 --pass-through=x"),
        (["--sig-figs", "3", "--code", "4"], "--sig-figs 3 --code 4"),
        (["--", "-1", "--2", "x"], "-- -1 --2 x"),
        # What only sounds like it is what a run is made again with.
        (["--max-tokens", "512", "--tokenizer=bert"], "--max-tokens 512 --tokenizer=bert"),
        (["--keypoints", "17", "--author=me"], "--keypoints 17 --author=me"),
    ],
)
def test_a_command_line_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], shown: str
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", *arguments])
    assert capture().tags["environment.command_line"] == f"python train.py {shown}"


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://host/r.git", "https://host/r.git"),
        ("https://me:hunter2@host/r.git?access_token=hunter2", "https://host/r.git"),
        ("https://host/r.git#hunter2", "https://host/r.git"),
        ("//me:hunter2@host/x", "//host/x"),
        ("ssh://git@host/r.git", "ssh://host/r.git"),
        ("me:hunter2@host:r.git", "host:r.git"),
        ("me:hunter2/@x@host:r.git", "host:r.git"),
        ("me:hunter2@host:/srv//r.git", "host:/srv//r.git"),
        ("git@host:org/r.git", "git@host:org/r.git"),
        ("host:org/r@v2.git", "host:org/r@v2.git"),
        ("C:\\code\\a@b", "C:\\code\\a@b"),
        ("../a?b#c", "../a?b#c"),
    ],
)
def test_a_repository_without_what_lets_one_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, remote: str, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [""])
    names = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (
        ["init"],
        ["remote", "add", "origin", remote],
        [*names, "commit", "--allow-empty", "-m", "one"],
    ):
        subprocess.run(["git", *command], check=True, capture_output=True)
    assert source_tags()["mlflow.source.git.repoURL"] == shown
