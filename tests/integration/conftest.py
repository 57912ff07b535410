"""What the integration tests share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import grpc
import pytest
from moto.moto_api._internal.models import moto_api_backend
from moto.server import ThreadedMotoServer

from mlflow_grpc import Client
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


@pytest.fixture
def run_id(served: Served) -> str:
    """A new run of the shared server."""
    with Client(served.address) as client:
        return client.create_run("0").info.run_id


@pytest.fixture
def moto() -> Iterator[ThreadedMotoServer]:
    """A server that speaks S3, in this process."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def bucket(moto: ThreadedMotoServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket of S3, which the environment leads to."""
    host, port = moto.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in {
        "MLFLOW_S3_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3", endpoint_url=url).Bucket("artifacts")
    # The servers of one process share what they store.
    moto_api_backend.reset()
    bucket.create()
    return bucket
