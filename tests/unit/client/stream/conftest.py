"""Fixtures: a server that starts runs, and runs that stream to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mlflow_grpc import (
    MetricsNotStoredError,
    StreamConfig,
)
from mlflow_grpc.v1 import experiment_service_pb2
from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import FakeServer
from tests.unit.client.stream.helpers import Open


@pytest.fixture(autouse=True)
def runs(server: FakeServer) -> None:
    """The server starts runs `r1`, `r2`, ..."""
    ids = iter(range(1, 1000))
    server.answers["StartRun"] = lambda request, context: experiment_service_pb2.StartRunResponse(
        run={"info": {"run_id": f"r{next(ids)}"}}
    )


@pytest.fixture
async def start(driver: Driver) -> AsyncIterator[Open]:
    """Starts a run of a client with such a stream, which closes without waiting."""
    clients = []

    async def open_run(**stream: Any) -> Any:
        stream = {"max_backoff": 0.01, **stream}
        client = driver.open(stream=StreamConfig(**stream))
        clients.append(client)
        return await driver.call("start_run", on=client)

    yield open_run
    for client in clients:
        with contextlib.suppress(MetricsNotStoredError):
            await driver.call("close", 0, on=client)
