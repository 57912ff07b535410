"""What a notebook is taken for. Elsewhere whole programs are run for it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlflow_grpc._environment import source_tags


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
