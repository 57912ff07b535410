"""What the integration tests share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import grpc
import pytest

from tests.conftest import Served
from tests.rpc import Rpcs


@pytest.fixture(scope="session")
def rpcs(served: Served) -> Iterator[Rpcs]:
    """Calls to the shared server."""
    with grpc.insecure_channel(served.address) as channel:
        yield Rpcs(channel)


@pytest.fixture
def unique() -> str:
    """A name that nothing else has."""
    return f"name-{uuid.uuid4().hex}"
