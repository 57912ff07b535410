"""How a watch paces its reads, over a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy
from mlflow import MlflowClient

from mlflow_grpc_server.ingest.signals import CommitSignals
from mlflow_grpc_server.tracking.commits import commit_log
from mlflow_grpc_server.tracking.pool import BlockingPool
from mlflow_grpc_server.tracking.tracking import Tracking
from mlflow_grpc_server.tracking.watch import Event, Points, RunWatch, Snapshot, Watcher, pause_for
from tests.databases import sqlite_uri


async def next_event(events: AsyncIterator[Event]) -> Event:
    return await anext(events)


async def test_a_slow_reader_is_not_made_to_wait_in_turn(tmp_path: Path) -> None:
    """What a watcher takes over a message is no time in the store, and stretches no pause."""
    uri = sqlite_uri(tmp_path)
    client = await asyncio.to_thread(MlflowClient, uri)
    run_id = (await asyncio.to_thread(client.create_run, "0")).info.run_id
    engine, pool = sqlalchemy.create_engine(uri), BlockingPool(2, 10)
    watcher = Watcher(Tracking(client), commit_log(engine), pool, CommitSignals(), asyncio.Event())
    events = watcher.watch(RunWatch(run_id, [], include_history=False, cursor=None))
    assert isinstance(await anext(events), Snapshot)
    first = asyncio.create_task(next_event(events))
    await asyncio.to_thread(client.log_metric, run_id, "first", 1.0)
    assert isinstance(await first, Points)
    # A slow reader: four times this, which a pause once took, is more than is waited below.
    await asyncio.sleep(3)
    second = asyncio.create_task(next_event(events))
    await asyncio.sleep(0)
    await asyncio.to_thread(client.log_metric, run_id, "second", 2.0)
    found = await asyncio.wait_for(second, 8)
    assert isinstance(found, Points)
    assert [row[0] for row in found.points] == ["second"]
    await events.aclose()  # type: ignore[attr-defined]
    await pool.close()
    engine.dispose()


@pytest.mark.parametrize(
    ("read_seconds", "pause"), [(0.0, 0.05), (0.1, 0.4), (1.0, 4.0), (60.0, 5.0)]
)
def test_pauses_follow_the_reads_up_to_a_bound(read_seconds: float, pause: float) -> None:
    assert pause_for(read_seconds) == pause
