"""A program that forks, for test_forks.py: `python forking.py SCENARIO HOST:PORT`.

It is run as a process of its own, because a fork of the tests would take their server along.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import BinaryIO

import pytest

from mlflow_grpc import (
    ActiveRun,
    AsyncClient,
    Client,
    ClientConfig,
    MetricsNotStoredError,
    StreamConfig,
)

# So that a hang is a failure of its own.
SECONDS = 60


def log_from_here(address: str, name: str) -> None:
    """Logs 100 points with a client of this process."""
    with Client(address) as client, client.start_run(run_name=name) as run:
        for number in range(100):
            run.log_metric("child", number)
        run.flush()


def refused(call: Callable[[], object], words: str) -> None:
    """A call that must raise a RuntimeError."""
    with pytest.raises(RuntimeError, match=words):
        call()


def in_child(work: Callable[[], None], *, by_exit: bool = True) -> None:
    """Forks; the child does the work, and ends as a program does, or at once."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(SECONDS)
        if by_exit:
            work()
            sys.exit(0)
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}"


def imported(address: str) -> None:
    """A fork before any client."""
    in_child(lambda: log_from_here(address, "child"))
    log_from_here(address, "parent")


def streaming(address: str) -> None:
    """Forks in the middle of a stream."""
    client = Client(address)
    with client, client.start_run(run_name="parent") as run:

        def work() -> None:
            refused(lambda: run.log_metric("k", 1), "before the fork")
            refused(lambda: run.log_metrics({"k": 1}), "before the fork")
            refused(run.flush, "before the fork")
            refused(lambda: run.stats, "before the fork")
            refused(client.get_version, "before the fork")
            refused(client.flush, "before the fork")
            refused(client.wait_until_ready, "before the fork")
            refused(lambda: list(client.watch_run("r")), "before the fork")
            client.close()
            log_from_here(address, "child")

        for number in range(500):
            run.log_metric("parent", number)
            if number % 100 == 50:
                # Leaving the blocks in the child ends neither the run nor the client.
                in_child(work, by_exit=number < 200)
        run.flush()
        assert client.get_version() is not None


def work_in_pool(address: str, worker: int) -> int:
    """What a worker of a pool does."""
    log_from_here(address, f"worker {worker}")
    return worker


def pool(address: str) -> None:
    """A pool of forked workers, as a DataLoader has, made in every epoch."""
    context = multiprocessing.get_context("fork")
    with Client(address) as client, client.start_run(run_name="parent") as run:
        for epoch in range(3):
            for number in range(100):
                run.log_metric("parent", epoch * 100 + number)
            with context.Pool(2) as workers:
                jobs = [(address, epoch * 2 + worker) for worker in range(2)]
                assert len(workers.starmap(work_in_pool, jobs)) == 2
                workers.close()
                workers.join()


def away(address: str) -> None:
    """Forks while the server is away."""
    nowhere = ClientConfig(stream=StreamConfig(flush_timeout=0.1, max_backoff=0.05))
    client = Client("unix:/nonexistent/mlflow-grpc.sock", config=nowhere)
    with Client(address) as other:
        started = other.create_run("0")
    run = ActiveRun(client, started)
    run.log_metric("k", 1)
    in_child(lambda: refused(lambda: run.log_metric("k", 2), "before the fork"))
    in_child(lambda: log_from_here(address, "child"))
    with pytest.raises(MetricsNotStoredError, match="1 points are not known to be stored"):
        client.close()


def asyncio_used(address: str) -> None:
    """Forks after a client for asyncio was used."""

    def work() -> None:
        refused(lambda: Client(address), "AsyncClient")
        refused(lambda: AsyncClient(address), "AsyncClient")

    async def parent() -> None:
        async with AsyncClient(address) as client, client.start_run(run_name="parent") as run:
            for number in range(100):
                await run.log_metric("parent", number)
            in_child(work)
            await run.flush()

    asyncio.run(parent())


def unsupported(address: str) -> None:
    """Forks where gRPC's support of forks is turned off."""
    log_from_here(address, "parent")
    in_child(lambda: refused(lambda: Client(address), "GRPC_ENABLE_FORK_SUPPORT"))
    log_from_here(address, "parent")


def callback(address: str) -> None:
    """Forks in a callback of the stream, where gRPC cannot be quiet."""
    forked = []

    def fork(stored: object) -> None:
        if not forked:
            forked.append(stored)
            in_child(lambda: refused(lambda: Client(address), "middle of a call"), by_exit=False)

    config = ClientConfig(stream=StreamConfig(on_stored=fork))
    with Client(address, config=config) as client, client.start_run(run_name="parent") as run:
        for number in range(100):
            run.log_metric("parent", number)
        run.flush()
        assert forked


def files(address: str) -> None:
    """Forks between uploads: the child has none of its parent's client, and one of its own."""
    client = Client(address)
    run = client.start_run(run_name="parent")
    run.log_text("x" * 100, "parent/before")
    assert run.download_artifacts("there")

    def work() -> None:
        folder = tempfile.mkdtemp()
        for call in (
            lambda: run.log_text("x", "never"),
            lambda: run.log_artifact(__file__),
            lambda: run.log_artifacts(some_files()),
            lambda: run.log_image(FakeImage(), key="never"),
            lambda: list(run.list_artifacts()),
            lambda: run.download_artifacts("there", folder),
            lambda: client.read_artifact(run.run_id, "there"),
            lambda: client.get_artifact_upload(run.run_id, "p", "u"),
        ):
            refused(call, "before the fork")
        assert os.listdir(folder) == []
        with Client(address) as own, own.start_run(run_name="child") as mine:
            mine.log_text("x", "child/one")
            mine.log_artifacts(some_files(), "child/many")
            assert mine.download_artifacts("there", folder)

    for _ in range(2):
        in_child(work)
        run.log_text("x", "parent/after")
        assert client.read_artifact(run.run_id, "there") == b"there"
    run.end()
    client.close()


def some_files() -> str:
    """A new folder with files."""
    folder = tempfile.mkdtemp()
    for number in range(3):
        with open(f"{folder}/{number}", "wb") as file:
            file.write(b"x" * number)
    return folder


class FakeImage:
    """What `log_image` asks of an image."""

    size = (1, 1)

    def resize(self, size: object) -> FakeImage:
        return self

    def save(self, file: BinaryIO, format: str) -> None:
        file.write(b"image")


def transferring(address: str) -> None:
    """Forks in the middle of an upload, and of a download, in another thread."""
    with Client(address) as client, client.start_run(run_name="parent") as run:
        for transfer in (
            lambda wait: run.log_artifacts(some_files(), "parent", progress=wait),
            lambda wait: run.download_artifacts("there", progress=wait),
        ):
            moving, forked = threading.Event(), threading.Event()

            def wait(
                progress: object, moving: threading.Event = moving, forked: threading.Event = forked
            ) -> None:
                moving.set()
                assert forked.wait(SECONDS)

            thread = threading.Thread(target=transfer, args=[wait])
            thread.start()
            assert moving.wait(SECONDS)
            in_child(
                lambda: refused(lambda: Client(address), "in the middle of a call"), by_exit=False
            )
            forked.set()
            thread.join()
        # It is over, and what is forked now can log.
        in_child(lambda: log_from_here(address, "child"))


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        imported,
        streaming,
        pool,
        away,
        asyncio_used,
        unsupported,
        callback,
        files,
        transferring,
    )
}

if __name__ == "__main__":
    signal.alarm(SECONDS)
    SCENARIOS[sys.argv[1]](sys.argv[2])
    print("done")
