"""Prints tables for people, with rich where it is installed, and JSON for programs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from mlflow_grpc._enums import ViewType

__all__ = [
    "Output",
    "add_view",
    "number",
    "one_line",
    "room",
    "short",
    "told_apart",
    "to_json",
    "when",
    "when_shortly",
    "width",
]

_MOST_SHOWN = 60
_SHOWN_BEFORE = 20
# The joiner of emoji is the one format character that changes nothing but how a name looks.
_JOINER = "\u200d"


class Output:
    """Where results go."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def values(self, found: Any) -> None:
        """Prints values of this package as JSON."""
        print(to_json(found, indent=2))

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        title: str = "",
        *,
        folded: int | None = None,
    ) -> None:
        """Prints a table; a row is as long as `columns`.

        Where a terminal has no room, column `folded` goes over several lines, by default each.
        """
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
        for index, column in enumerate(columns):
            is_whole = folded is not None and index != folded
            table.add_column(Text(column), overflow="fold", no_wrap=is_whole)
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


def told_apart(texts: Iterable[str], start: int = 0) -> dict[str, str]:
    """By each text what of it a table shows: from `start` or, where several then look alike, from
    a little before they differ."""
    before = "..." if start else ""
    shown = {text: before + short(text[start:]) for text in texts}
    alike: dict[str, list[str]] = {}
    for text, cell in shown.items():
        alike.setdefault(cell, []).append(text)
    for same in alike.values():
        if len(same) > 1:
            shown.update(told_apart(same, _agreed(same) - _SHOWN_BEFORE))
    return shown


def _agreed(texts: Sequence[str]) -> int:
    """How many characters different texts have in common at their beginning."""
    first, last = min(texts), max(texts)
    return next((at for at, one in enumerate(first) if one != last[at]), len(first))


def room() -> int | None:
    """How many columns the terminal has, None if there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


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


def when_shortly(milliseconds: int | None) -> str:
    """The same as `ls` has it: the day, with the time if it is of this year."""
    if milliseconds is None:
        return ""
    time = datetime.fromtimestamp(milliseconds / 1000)
    of_this_year = time.year == datetime.now().year
    return f"{time:%m-%d %H:%M}" if of_this_year else f"{time:%Y-%m-%d}"


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


def width(text: str) -> int:
    """How many columns a terminal gives a text."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    none = sum(unicodedata.category(character) in ("Mn", "Me", "Cf") for character in text)
    return len(text) + wide - none


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    lines = [tuple(columns), *map(tuple, rows)]
    widths = [max(width(line[index]) for line in lines) for index in range(len(columns))]
    if title:
        print(title)
    for line in lines:
        cells = (cell + " " * (most - width(cell)) for cell, most in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
