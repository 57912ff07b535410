"""The threads of a transfer: in order, a bounded number of steps apart, ended by a failure."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from mlflow_grpc._files.threads import Ahead, Behind, Stop, each


def test_calls_are_made_in_order_and_not_by_the_caller() -> None:
    made: list[tuple[int, int]] = []
    behind = Behind()
    for number in range(100):
        behind.run(lambda number: made.append((number, threading.get_ident())), number)
    behind.wait()
    assert [number for number, _ in made] == list(range(100))
    assert threading.get_ident() not in {thread for _, thread in made}
    behind.close()


def test_a_caller_is_a_few_calls_in_front_at_the_most() -> None:
    behind, may_go_on, accepted = Behind(), threading.Event(), 0
    three = threading.Event()

    def give() -> None:
        nonlocal accepted
        for _ in range(20):
            behind.run(may_go_on.wait)
            accepted += 1
            if accepted == 3:
                three.set()

    caller = threading.Thread(target=give)
    caller.start()
    assert three.wait(10)
    caller.join(0.05)
    assert accepted == 3
    may_go_on.set()
    caller.join(10)
    assert accepted == 20
    behind.close()


def test_what_a_call_raises_is_raised_and_no_later_call_is_made() -> None:
    behind, may_go_on, later = Behind(), threading.Event(), list[int]()

    def fail() -> None:
        may_go_on.wait()
        raise OSError("disk full")

    behind.run(fail)
    behind.run(later.append, 1)
    may_go_on.set()
    with pytest.raises(OSError, match="disk full"):
        behind.wait()
    with pytest.raises(OSError, match="disk full"):
        behind.run(later.append, 2)
    behind.close()
    assert later == []


def counting(made: list[int], closed: list[bool], most: int = 100) -> Generator[int, None, None]:
    """Numbers; says what it made, and that it was closed."""
    try:
        for number in range(most):
            made.append(number)
            yield number
    finally:
        closed.append(True)


def test_items_are_made_a_few_ahead() -> None:
    made: list[int] = []
    closed: list[bool] = []
    ahead = Ahead(counting(made, closed))
    for expected in range(50):
        assert next(ahead) == expected
        assert len(made) <= expected + 4
    ahead.close()
    assert closed == [True]
    assert list(ahead) == []
    assert len(made) < 60


def test_all_items_come_once() -> None:
    closed: list[bool] = []
    ahead = Ahead(counting([], closed))
    assert list(ahead) == list(range(100))
    assert closed == [True]
    ahead.close()


def test_closing_ends_who_waits_for_an_item() -> None:
    entered, may_go_on = threading.Event(), threading.Event()

    def slow() -> Generator[int, None, None]:
        entered.set()
        may_go_on.wait(10)
        yield 1
        yield 2

    ahead = Ahead(slow())
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(ahead))
    reader.start()
    assert entered.wait(10)
    closer = threading.Thread(target=ahead.close)
    closer.start()
    may_go_on.set()
    for thread in (closer, reader):
        thread.join(10)
        assert not thread.is_alive()


def test_a_failure_ends_the_items_and_is_kept() -> None:
    def failing() -> Generator[int, None, None]:
        yield 1
        raise OSError("the file shrank")

    ahead = Ahead(failing())
    assert list(ahead) == [1]
    ahead.close()
    assert str(ahead.failure) == "the file shrank"


class Call:
    """A call that lasts until it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


def test_the_first_failure_ends_the_calls_of_the_others() -> None:
    stop, running, calls = Stop(), threading.Barrier(3), list[Call]()

    def transfer(number: int) -> None:
        assert number < 3, "it began after the failure"
        call = Call()
        calls.append(call)
        with stop.ending(call):
            running.wait(10)
            if number == 1:
                raise OSError("disk full")
            assert call.cancelled.wait(10)
            raise RuntimeError("cancelled")

    with pytest.raises(OSError, match="disk full"):
        each(range(9), transfer, stop, 3)
    assert all(call.cancelled.is_set() for call in calls)
    late = Call()
    with stop.ending(late):
        assert late.cancelled.is_set()
    stop.sleep(3600)


def test_results_are_in_order() -> None:
    first_may_end = threading.Event()

    def do(number: int) -> int:
        if number == 0:
            first_may_end.wait(10)
        elif number == 7:
            first_may_end.set()
        return number * number

    assert each(range(8), do, Stop(), 3) == [number * number for number in range(8)]
    assert each([], do, Stop(), 3) == []
