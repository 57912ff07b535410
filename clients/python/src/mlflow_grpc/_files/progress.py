"""How far a transfer is, for people and for programs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# What is done sooner than one can read needs no bar.
_SHOWN_BYTES = 32 * 2**20
_SHOWN_FILES = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is."""

    path: str
    """The artifact that bytes moved of just now."""
    bytes_done: int
    bytes_total: int
    files_total: int


ProgressOption = bool | Callable[[Progress], None] | None


@contextmanager
def progress_of(
    option: ProgressOption, verb: str, bytes_total: int, files_total: int
) -> Iterator[Callable[[str, int], None]]:
    """What to tell about bytes that moved, by path and number, from any thread.

    `option`: a callback; True or False for a bar or none; None for a bar if it is a large
    transfer and rich is installed. There is none unless stderr is a terminal, or a notebook.
    """
    if callable(option):
        yield _counter(option, bytes_total, files_total)
        return
    large = bytes_total >= _SHOWN_BYTES or files_total >= _SHOWN_FILES
    if option or (option is None and large and sys.stderr.isatty()):
        bar = _bar(required=bool(option))
        if bar is not None:
            with bar:
                task = bar.add_task(f"{verb} {files_total} files", total=bytes_total)
                yield lambda path, count: bar.update(task, advance=count)
            return
    yield lambda path, count: None


def _counter(
    callback: Callable[[Progress], None], bytes_total: int, files_total: int
) -> Callable[[str, int], None]:
    lock = threading.Lock()
    done = 0

    def moved(path: str, count: int) -> None:
        nonlocal done
        if not count:
            return
        with lock:
            done += count
            callback(Progress(path, done, bytes_total, files_total))

    return moved


def _bar(*, required: bool) -> Any:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as Bar
    except ImportError:
        if required:
            raise
        return None
    console = Console(stderr=True)
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
        # A log file would get its empty lines.
        disable=not (console.is_terminal or console.is_jupyter),
    )
