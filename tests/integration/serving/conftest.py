"""A server with models to deploy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.serving.house import House
from tests.servers import ServerProcess


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One server for the tests that need no server of their own, with models in its registry."""
    folder = tmp_path_factory.mktemp("house")
    with (
        ServerProcess(folder, "--serving-poll", "0.2") as server,
        House(folder, server.address) as house,
    ):
        yield house


@pytest.fixture(scope="session")
def misbehaving(house: House) -> str:
    """The name of a misbehaving model with one replica and tight limits."""
    return house.deploy(
        house.model("misbehaving"),
        memoryLimitBytes=str(600 * 2**20),
        predictTimeout="10s",
    )
