"""Draws a watched run in the terminal, with rich."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from mlflow_grpc._calls.watch import MetricPoints, RunEvent
from mlflow_grpc._cli.curves import Curves, sparkline
from mlflow_grpc._cli.output import number
from mlflow_grpc._entities import RunInfo

__all__ = ["LiveView"]

_OTHER_COLUMNS = 60
_NARROWEST = 10


class LiveView:
    """The picture of a run: a row for each metric. It stays when the run has ended.

    `console` is rich's, by default the terminal. Raises ImportError without rich.
    """

    def __init__(self, curves: Curves, frames: int, console: Any = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console()
        self._curves = curves
        self._info: RunInfo | None = None
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=frames,
            vertical_overflow="ellipsis",
        )

    def show(self, event: RunEvent) -> None:
        """Takes in what happened to the run."""
        if isinstance(event, MetricPoints):
            self._curves.add(event.metrics)
        else:
            self._info = event.run.info

    def _draw(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(self._title()), title_justify="left", box=None, pad_edge=False)
        table.add_column("metric", overflow="ellipsis", no_wrap=True)
        table.add_column("curve", no_wrap=True)
        for name in ("last", "min", "max", "step", "points"):
            table.add_column(name, justify="right", no_wrap=True)
        width = max(_NARROWEST, self._console.width - _OTHER_COLUMNS)
        for key, curve in sorted(self._curves.by_key.items()):
            has_extremes = curve.low <= curve.high
            table.add_row(
                Text(key),
                Text(sparkline(curve.values, width), style="cyan"),
                number(curve.last.value),
                number(curve.low) if has_extremes else "-",
                number(curve.high) if has_extremes else "-",
                str(curve.last.step),
                f"{curve.count:,}",
            )
        return table

    def _title(self) -> str:
        if self._info is None:
            return "waiting for the server"
        return f"{self._info.run_name}  {self._info.run_id}  {self._info.status}"

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()
