"""Prints tables for people, with rich where it is installed, and JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

__all__ = ["Output", "number", "when"]


class Output:
    """Where results go."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def values(self, found: Any) -> None:
        """Prints values of this package as JSON."""
        print(json.dumps(_plain(found), indent=2))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """Prints a table; a row is as long as `columns`."""
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            _print_plain(columns, rows, title)
            return
        # Into a pipe it is as wide as it needs to be.
        width = None if sys.stdout.isatty() else 10_000
        table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
        for column in columns:
            table.add_column(Text(column), overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console(width=width).print(table)


def number(value: float) -> str:
    """A number for a table."""
    return f"{value:.6g}"


def when(milliseconds: int | None) -> str:
    """A time in milliseconds since the epoch, as local time."""
    if milliseconds is None:
        return ""
    time = datetime.fromtimestamp(milliseconds / 1000, timezone.utc).astimezone()
    return time.isoformat(" ", "seconds")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    lines = [tuple(columns), *map(tuple, rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    if title:
        print(title)
    for line in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
