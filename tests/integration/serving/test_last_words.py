"""What a process of a model wrote last is kept, however Python buffers its output."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from tests.integration.serving.house import House, order
from tests.rpc import describe
from tests.servers import ServerProcess


def test_the_words_before_a_sudden_end_are_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with ServerProcess(tmp_path) as server, House(tmp_path, server.address) as house:
        name = house.deploy(house.model("misbehaving"))
        with pytest.raises(grpc.RpcError) as caught:
            house.stub.Predict(order(name, "exit 3"), timeout=30)
        assert describe(caught.value).reason == "MODEL_CRASHED"
        served = house.wait(name, lambda served: served.state == pb.SERVED_MODEL_STATE_DEGRADED)
        assert "about to exit" in served.log_lines
