"""Idle connections, and the options by which gRPC keeps them."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import pytest
from grpc._cython import cygrpc

from mlflow_grpc import ClientConfig
from mlflow_grpc._channel import channel_options, stream_options
from mlflow_grpc_server import app
from tests.conftest import Served
from tests.rpc import Rpcs


def test_grpc_knows_every_option() -> None:
    """One that it does not know, it ignores without a word."""
    library = Path(cygrpc.__file__).read_bytes()
    config = ClientConfig()
    options = (*app._CHANNEL_OPTIONS, *channel_options(config), *stream_options(config))
    names = {name for name, _ in options if name.startswith("grpc.")}
    assert len(names) > 10
    assert {name for name in names if name.encode() + b"\0" not in library} == set()


@pytest.mark.slow
def test_an_idle_client_is_left_alone(served: Served) -> None:
    """Its pings are not too many, which would cost it the connection at the third."""
    options = channel_options(ClientConfig(keepalive_time=11))
    left = threading.Event()
    with grpc.insecure_channel(served.address, options=options) as channel:
        Rpcs(channel)("GetVersion")

        def watch(state: grpc.ChannelConnectivity) -> None:
            if state is not grpc.ChannelConnectivity.READY:
                left.set()

        channel.subscribe(watch)
        # The first state is the one at the start.
        left.clear()
        assert not left.wait(60)
