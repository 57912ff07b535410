"""Prints tables for people, with rich where it is installed, and JSON for programs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from mlflow_grpc._enums import ViewType

__all__ = ["Output", "add_view", "number", "one_line", "short", "to_json", "when"]

_MOST_SHOWN = 60
# The joiner of emoji is the one format character that changes nothing but how a name looks.
_JOINER = "\u200d"


class Output:
    """Where results go."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def values(self, found: Any) -> None:
        """Prints values of this package as JSON."""
        print(to_json(found, indent=2))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """Prints a table; a row is as long as `columns`."""
        columns = [one_line(column) for column in columns]
        rows = [[one_line(cell) for cell in row] for row in rows]
        if not sys.stdout.isatty():
            _print_plain(columns, rows, title)
            return
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            _print_plain(columns, rows, title)
            return
        table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
        for column in columns:
            # An id is to be copied.
            table.add_column(Text(column), overflow="fold", no_wrap=column == "run")
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)


def add_view(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds the option that says whether what is deleted counts, by MLflow's name for it."""
    parser.add_argument(
        "--view",
        choices=[view.value for view in ViewType],
        default=ViewType.ACTIVE_ONLY.value,
        type=str.lower,
        help=f"which {what}, as to whether they are deleted (default: %(default)s)",
    )


def number(value: float) -> str:
    """A number for a table."""
    return f"{value:.6g}"


def one_line(text: str) -> str:
    """Text without what would break a line, or make a terminal do something."""
    return "".join(map(_shown, text))


def short(text: str) -> str:
    """The beginning of a long text, for a table."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def to_json(found: Any, indent: int | None = None) -> str:
    """Values of this package as JSON, which has no numbers for NaN and infinities: they are
    texts, as in the JSON of protobuf."""
    return json.dumps(_plain(found), indent=indent, allow_nan=False)


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
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _shown(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character != _JOINER:
        return character.encode("unicode_escape").decode()
    return character


def _width(text: str) -> int:
    """How many columns a terminal gives a text."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    none = sum(unicodedata.category(character) in ("Mn", "Me", "Cf") for character in text)
    return len(text) + wide - none


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    lines = [tuple(columns), *map(tuple, rows)]
    widths = [max(_width(line[index]) for line in lines) for index in range(len(columns))]
    if title:
        print(title)
    for line in lines:
        cells = (
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        )
        print("  ".join(cells).rstrip())
