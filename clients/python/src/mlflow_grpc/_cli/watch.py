"""`watch`: shows a run's metrics as they arrive."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mlflow_grpc._calls.watch import MetricPoints, RunEnd, RunEvent
from mlflow_grpc._cli.curves import Curves
from mlflow_grpc._cli.live import LiveView
from mlflow_grpc._cli.output import Output, number, one_line, to_json
from mlflow_grpc._sync.client import Client

# How often the picture is drawn anew, a second.
_FRAMES = 8


def add(subcommands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the subcommand."""
    parser = subcommands.add_parser(
        "watch",
        parents=[common],
        help="watch a run until it ends",
        description="Draw a run's metrics as they are stored, until the run ends. Not in a "
        "terminal, or without rich: a line for each point.",
    )
    parser.add_argument("run_id", help="the run")
    parser.add_argument(
        "--metric", action="append", help="show this metric only; may be given again"
    )
    parser.add_argument(
        "--server",
        dest="address",
        default=argparse.SUPPRESS,
        metavar="HOST:PORT",
        help="the same as --address, before the command",
    )
    parser.set_defaults(run=_run)


def _run(client: Client, options: argparse.Namespace, output: Output) -> None:
    events = client.watch_run(options.run_id, options.metric, include_history=True)
    if not output.as_json and sys.stdout.isatty():
        try:
            view = LiveView(Curves(), _FRAMES)
        except ImportError:
            pass
        else:
            with view:
                for event in events:
                    view.show(event)
            return
    for event in events:
        for line in _json_lines(event) if output.as_json else _lines(event):
            print(line, flush=True)


def _lines(event: RunEvent) -> list[str]:
    if isinstance(event, MetricPoints):
        return [f"{one_line(m.key)}  step {m.step}  {number(m.value)}" for m in event.metrics]
    info = event.run.info
    return [f"run {info.run_id} {one_line(info.run_name)} {info.status}"]


def _json_lines(event: RunEvent) -> list[str]:
    if isinstance(event, MetricPoints):
        return [
            to_json({"key": m.key, "value": m.value, "timestamp": m.timestamp, "step": m.step})
            for m in event.metrics
        ]
    info = event.run.info
    kind = "end" if isinstance(event, RunEnd) else "run"
    return [to_json({kind: info.run_id, "name": info.run_name, "status": str(info.status)})]
