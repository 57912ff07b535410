"""Makes the asyncio twin of the blocking client's methods.

`python tests/unit/client/twins.py` writes `_aio/*.py` from `_sync/*.py`;
test_twins.py fails when they differ.
"""

from __future__ import annotations

import re
from pathlib import Path

import mlflow_grpc

PACKAGE = Path(mlflow_grpc.__file__).parent
MODULES = ("experiments.py", "registry.py", "runs.py", "status.py")


def asyncio_twin(name: str) -> str:
    """The text of `_aio/<name>`, by that of `_sync/<name>`."""
    source = (PACKAGE / "_sync" / name).read_text()
    head, *methods = re.split(r"(?m)^(?=    def )", source)
    head = head.replace(
        "mlflow_grpc._sync.base import Caller", "mlflow_grpc._aio.base import AsyncCaller"
    )
    head = re.sub(r"(?m)^class (\w+)\(Caller\)", r"class Async\1(AsyncCaller)", head)
    head = re.sub(r"(?m)^from collections.abc import (.*)$", _sorted_import, head)
    # Not the docstring: it is one of the lines that the notice goes after.
    docstring, rest = head.split("\n", 1)
    notice = f"# Made from _sync/{name} by tests/unit/client/twins.py; do not edit."
    return "\n".join([docstring, notice, rest]) + "".join(map(_method, methods))


def _sorted_import(match: re.Match[str]) -> str:
    names = match[1].replace("Iterator", "AsyncIterator").split(", ")
    return f"from collections.abc import {', '.join(sorted(names))}"


def _method(text: str) -> str:
    if "self._iterate(" in text:
        return text.replace("-> Iterator[", "-> AsyncIterator[")
    text = re.sub(r"^    def ", "    async def ", text)
    return re.sub(r"self\.(_call\w*)\(", r"await self.\1(", text)


def main() -> None:
    """Writes every twin."""
    for name in MODULES:
        (PACKAGE / "_aio" / name).write_text(asyncio_twin(name))


if __name__ == "__main__":
    main()
