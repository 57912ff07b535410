"""Group commit and the window of a stream, over a writer in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from mlflow_grpc.v1.resources_pb2 import Metric
from mlflow_grpc.v1.run_service_pb2 import StreamMetricsRequest
from mlflow_grpc_server.convert import streams
from mlflow_grpc_server.exceptions import (
    NotFoundError,
    OverloadedError,
    ServerStoppingError,
    StoreUnavailableError,
)
from mlflow_grpc_server.ingest import pipeline
from mlflow_grpc_server.ingest.entries import Entries, Outcome
from mlflow_grpc_server.ingest.pipeline import Ingest
from mlflow_grpc_server.ingest.window import Window
from mlflow_grpc_server.services.streams import off_loop

POISON = "poison"


class MemoryWriter:
    """Keeps what it commits: the run and the steps of each message, commit by commit.

    `gate` holds it up while it is clear; `entered` tells that a write has begun.
    """

    def __init__(self) -> None:
        self.commits: list[list[tuple[str, list[int]]]] = []
        self.away = False
        self.attempts = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def write(self, group: Sequence[Entries]) -> list[Outcome]:
        self.attempts += 1
        self.entered.set()
        assert self.gate.wait(30)
        if self.away:
            raise StoreUnavailableError
        if any(row[0] == POISON for entries in group for row in entries.metrics):
            raise ValueError(POISON)
        self.commits.append(
            [(entries.run_id, [row[3] for row in entries.metrics]) for entries in group]
        )
        return [
            Outcome(refused=NotFoundError("run", "gone") if entries.run_id == "gone" else None)
            for entries in group
        ]

    def steps(self, run_id: str) -> list[int]:
        return [
            step
            for commit in self.commits
            for run, steps in commit
            if run == run_id
            for step in steps
        ]


def message(run_id: str, *steps: int, key: str = "loss") -> Entries:
    return Entries(run_id, [(key, 0.5, 1, step, False, run_id) for step in steps])


class Parts:
    """An ingest with one writer thread unless said otherwise, and what it told."""

    def __init__(self, retry_seconds: float = 30, writers: int = 1) -> None:
        self.writer = MemoryWriter()
        self.told: list[set[str]] = []
        self.ingest = Ingest(
            self.writer, writers, retry_seconds, lambda runs: self.told.append(set(runs))
        )

    async def hold(self, run_id: str = "held") -> asyncio.Future[Outcome]:
        """Keep the writer busy with a message until `gate` is set."""
        self.writer.gate.clear()
        self.writer.entered.clear()
        future = self.ingest.submit(message(run_id, -1), 1)
        await asyncio.to_thread(self.writer.entered.wait, 30)
        return future


@pytest_asyncio.fixture
async def parts() -> AsyncIterator[Parts]:
    made = Parts()
    yield made
    made.writer.away = False
    made.writer.gate.set()
    await made.ingest.close()


async def test_what_waits_together_is_committed_together(parts: Parts) -> None:
    await parts.hold()
    futures = [parts.ingest.submit(message(run, step), 10) for step in (1, 2) for run in "ab"]
    parts.writer.gate.set()
    assert await asyncio.gather(*futures) == [Outcome()] * 4
    assert [sorted(commit) for commit in parts.writer.commits] == [
        [("held", [-1])],
        [("a", [1]), ("a", [2]), ("b", [1]), ("b", [2])],
    ]
    assert parts.told == [{"held"}, {"a", "b"}]


async def test_a_commit_takes_no_more_than_its_size(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_MOST_ENTRIES_PER_COMMIT", 3)
    await parts.hold()
    futures = [parts.ingest.submit(message("a", 2 * i, 2 * i + 1), 10) for i in range(4)]
    futures.append(parts.ingest.submit(message("b", 0), 10))
    parts.writer.gate.set()
    await asyncio.gather(*futures)
    assert parts.writer.commits[1:] == [
        [("a", [0, 1]), ("a", [2, 3])],
        [("b", [0]), ("a", [4, 5])],
        [("a", [6, 7])],
    ]


async def test_each_run_keeps_its_order_over_many_writers() -> None:
    parts = Parts(writers=4)
    futures = []
    for step in range(300):
        futures += [parts.ingest.submit(message(run, step), 10) for run in "abcde"]
        if step % 7 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*futures)
    await parts.ingest.close()
    for run in "abcde":
        assert parts.writer.steps(run) == list(range(300))


async def test_a_poison_message_fails_alone(parts: Parts) -> None:
    await parts.hold()
    good = [parts.ingest.submit(message("a", step), 10) for step in range(3)]
    bad = parts.ingest.submit(message("a", 3, key=POISON), 10)
    later = [parts.ingest.submit(message(run, 4), 10) for run in "ab"]
    parts.writer.gate.set()
    assert await asyncio.gather(*good, *later) == [Outcome()] * 5
    with pytest.raises(ValueError, match=POISON):
        await bad
    assert parts.writer.steps("a") == [0, 1, 2, 4]
    assert parts.writer.steps("b") == [4]


async def test_a_refusal_is_raised_to_a_call_and_told_to_a_stream(parts: Parts) -> None:
    assert isinstance((await parts.ingest.submit(message("gone", 1), 1)).refused, NotFoundError)
    with pytest.raises(NotFoundError):
        await parts.ingest.log(message("gone", 1), 1)


async def test_streams_wait_for_a_store_that_is_away_and_calls_do_not(parts: Parts) -> None:
    parts.writer.away = True
    patient = parts.ingest.submit(message("a", 1), 1)
    with pytest.raises(StoreUnavailableError):
        await parts.ingest.log(message("a", 2), 1)
    assert not patient.done()
    parts.writer.away = False
    assert await patient == Outcome()
    assert parts.writer.steps("a") == [1]


async def test_patience_has_an_end() -> None:
    parts = Parts(retry_seconds=0.2)
    parts.writer.away = True
    with pytest.raises(StoreUnavailableError):
        await parts.ingest.submit(message("a", 1), 1)
    assert parts.writer.attempts > 1
    await parts.ingest.close()


async def test_patience_counts_from_the_arrival_and_not_from_the_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many commits stand in line, none of them adds its wait to the next one's."""
    monkeypatch.setattr(pipeline, "_MOST_ENTRIES_PER_COMMIT", 1)
    parts = Parts(retry_seconds=0.3)
    parts.writer.away = True
    first, *others = [parts.ingest.submit(message("a", step), 1) for step in range(5)]
    with pytest.raises(StoreUnavailableError):
        await first
    attempts = parts.writer.attempts
    await asyncio.wait(others)
    # They came a moment later than the first, so that one more look may be needed.
    assert parts.writer.attempts <= attempts + 1
    assert all(isinstance(future.exception(), StoreUnavailableError) for future in others)
    await parts.ingest.close()


async def test_calls_behind_a_patient_stream_fail_at_once(parts: Parts) -> None:
    """The only writer is busy with the retries of a stream, and the call is in another lane."""
    parts.writer.away = True
    patient = parts.ingest.submit(message("a", 1), 1)
    await asyncio.to_thread(parts.writer.entered.wait, 30)
    for run in "ab":
        with pytest.raises(StoreUnavailableError):
            await asyncio.wait_for(parts.ingest.log(message(run, 2), 1), 10)
    assert not patient.done()


async def test_closing_does_not_wait_for_a_store_that_is_away() -> None:
    parts = Parts(retry_seconds=3600)
    parts.writer.away = True
    futures = [parts.ingest.submit(message(run, 1), 1) for run in "abc"]
    await asyncio.to_thread(parts.writer.entered.wait, 30)
    futures.append(parts.ingest.submit(message("a", 2), 1))
    await asyncio.wait_for(parts.ingest.close(), 30)
    assert all(isinstance(future.exception(), StoreUnavailableError) for future in futures)


async def test_one_poison_message_costs_few_commits(parts: Parts) -> None:
    await parts.hold()
    good = [parts.ingest.submit(message("a", step), 10) for step in range(500)]
    bad = parts.ingest.submit(message("a", 500, key=POISON), 10)
    parts.writer.gate.set()
    await asyncio.gather(*good, bad, return_exceptions=True)
    assert parts.writer.steps("a") == list(range(500))
    assert parts.writer.attempts < 30


async def test_waiting_is_bounded(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_MOST_WAITING_BYTES", 1000)
    await parts.hold()
    full = parts.ingest.submit(message("a", 1), 1000)
    with pytest.raises(OverloadedError):
        await parts.ingest.log(message("b", 1), 1)
    room = asyncio.create_task(parts.ingest.wait_for_room())
    await asyncio.sleep(0)
    assert not room.done()
    parts.writer.gate.set()
    await asyncio.wait_for(room, 30)
    await full
    await parts.ingest.log(message("b", 1), 1)
    assert parts.writer.steps("b") == [1]


async def test_a_call_that_was_given_up_is_not_stored(parts: Parts) -> None:
    await parts.hold()
    call = asyncio.create_task(parts.ingest.log(message("a", 1), 1))
    kept = parts.ingest.submit(message("a", 2), 1)
    await asyncio.sleep(0)
    call.cancel()
    parts.writer.gate.set()
    await kept
    assert parts.writer.steps("a") == [2]


async def test_closing_commits_what_was_taken(parts: Parts) -> None:
    await parts.hold()
    future = parts.ingest.submit(message("a", 1), 1)
    closing = asyncio.create_task(parts.ingest.close())
    parts.writer.gate.set()
    await closing
    assert future.result() == Outcome()
    with pytest.raises(RuntimeError):
        await parts.ingest.submit(message("a", 2), 1)
    assert parts.writer.steps("a") == [1]


def outcome(value: Outcome | None = None) -> asyncio.Future[Outcome]:
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    if value is not None:
        future.set_result(value)
    return future


async def test_a_window_gives_its_messages_in_order_and_then_ends() -> None:
    window: Window[int] = Window(2, 100)
    first = outcome()
    window.add(1, 10, first)
    window.add(2, 10, outcome(Outcome()))
    window.close()
    taking = asyncio.create_task(window.take())
    await asyncio.sleep(0)
    assert not taking.done()
    assert not window.has_outcome
    first.set_result(Outcome())
    assert await taking == (1, Outcome())
    assert window.has_outcome
    assert await window.take() == (2, Outcome())
    assert await window.take() is None


async def test_a_window_has_room_for_so_many() -> None:
    window: Window[int] = Window(2, 100)
    for number in range(2):
        await window.wait_for_room()
        window.add(number, 10, outcome(Outcome()))
    third = asyncio.create_task(window.wait_for_room())
    await asyncio.sleep(0)
    assert not third.done()
    await window.take()
    await asyncio.wait_for(third, 30)


async def test_a_window_has_room_for_so_many_bytes() -> None:
    """And for a single message of any size."""
    window: Window[int] = Window(9, 100)
    await window.wait_for_room()
    window.add(1, 1000, outcome(Outcome()))
    second = asyncio.create_task(window.wait_for_room())
    await asyncio.sleep(0)
    assert not second.done()
    await window.take()
    await asyncio.wait_for(second, 30)


async def test_a_window_ends_with_its_first_error_after_what_it_holds() -> None:
    window: Window[int] = Window(2, 100)
    window.add(1, 10, outcome(Outcome()))
    window.close(ServerStoppingError())
    window.close()
    assert await window.take() == (1, Outcome())
    with pytest.raises(ServerStoppingError):
        await window.take()


async def test_an_empty_window_waits_for_a_message_or_its_end() -> None:
    window: Window[int] = Window(2, 100)
    taking = asyncio.create_task(window.take())
    await asyncio.sleep(0)
    window.add(1, 10, outcome(Outcome()))
    assert await taking == (1, Outcome())
    taking = asyncio.create_task(window.take())
    await asyncio.sleep(0)
    window.close()
    assert await taking is None


@pytest.mark.parametrize(("entries", "on_loop"), [(1000, True), (1001, False)])
async def test_long_messages_leave_the_loop_to_others(entries: int, on_loop: bool) -> None:
    request = StreamMetricsRequest(metrics=[Metric()] * entries)
    thread = await off_loop(request, threading.current_thread)
    assert (thread is threading.current_thread()) is on_loop


def test_what_is_rejected_holds_on_to_no_frames() -> None:
    """A client that does not read its rejections leaves very many of them waiting."""
    request = StreamMetricsRequest(run_id="a" * 32, metrics=[Metric(key="../a", value=1)])
    _, rejected = streams.entries(request)
    (error,) = [one.error for one in rejected]
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
