"""Makes the asyncio twin of the blocking client's methods.

`python tests/unit/client/twins.py` writes `_aio/*.py` from `_sync/*.py`;
test_twins.py fails when they differ.
"""

from __future__ import annotations

import re
from pathlib import Path

import mlflow_grpc

PACKAGE = Path(mlflow_grpc.__file__).parent
MODULES = (
    "comparison.py",
    "experiments.py",
    "listing.py",
    "registry.py",
    "runs.py",
    "serving.py",
    "status.py",
)
LINE_LENGTH = 100


def asyncio_twin(name: str) -> str:
    """The text of `_aio/<name>`, by that of `_sync/<name>`."""
    source = (PACKAGE / "_sync" / name).read_text()
    head, *methods = re.split(r"(?m)^(?=    def )", source)
    first, *imports = [line for line in head.split("\n") if "_sync.base import" not in line]
    index = next(i for i, line in enumerate(imports) if "mlflow_grpc." in line)
    imports.insert(index, "from mlflow_grpc._aio.base import AsyncCaller")
    head = "\n".join([first, *imports])
    head = re.sub(r"(?m)^class (\w+)\(Caller\)", r"class Async\1(AsyncCaller)", head)
    head = re.sub(r"(?m)^from collections.abc import (.*)$", _sorted_import, head)
    docstring, rest = head.split("\n", 1)
    notice = f"\n# Made from _sync/{name} by tests/unit/client/twins.py; do not edit."
    return "\n".join([docstring, notice, rest]) + "".join(map(_method, methods))


def _sorted_import(match: re.Match[str]) -> str:
    names = match[1].replace("Iterator", "AsyncIterator").split(", ")
    return f"from collections.abc import {', '.join(sorted(names))}"


def _method(text: str) -> str:
    if any(f"self.{stream}(" in text for stream in ("_iterate", "_stream", "_watch")):
        return text.replace("-> Iterator[", "-> AsyncIterator[")
    text = re.sub(r"^    def ", "    async def ", text)
    text = re.sub(r"self\.(_call\w*)\(", r"await self.\1(", text)
    signature, rest = text.split("\n", 1)
    if len(signature) > LINE_LENGTH:
        signature = re.sub(r"\((.*)\) -> ", r"(\n        \1\n    ) -> ", signature)
    return f"{signature}\n{rest}"


def main() -> None:
    """Writes every twin."""
    for name in MODULES:
        (PACKAGE / "_aio" / name).write_text(asyncio_twin(name))


if __name__ == "__main__":
    main()
