"""Fixtures: a fake server, and a client of either kind that one test can drive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.unit.client.driver import Driver
from tests.unit.client.fake_server import FakeServer, serving


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        yield fake


@pytest.fixture(params=["sync", "aio"])
async def driver(request: pytest.FixtureRequest, server: FakeServer) -> AsyncIterator[Driver]:
    driver = Driver(request.param, server.target)
    yield driver
    await driver.close()
