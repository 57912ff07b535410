"""Calls that are made of the model as one: each has its own answer, or its own error."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from mlflow_grpc import Client, InternalError, InvalidArgumentError, ResourceExhaustedError
from tests.integration.serving.house import House
from tests.integration.serving.models import COLUMNS, train_forest

CALLERS = 16


@pytest.fixture(scope="module")
def client(house: House) -> Iterator[Client]:
    with Client(house.address) as client:
        yield client


@pytest.mark.parametrize("together", [{"maxBatchCalls": 8}, {}], ids=["asked for", "unasked"])
def test_each_call_gets_its_own_rows_and_its_own_error(
    house: House, client: Client, together: dict[str, int]
) -> None:
    model, frame = train_forest()
    expected = model.predict(frame)
    name = house.deploy(house.model("forest"), **together)

    def ask(index: int) -> object:
        if index % 10 == 9:
            with pytest.raises(InvalidArgumentError):
                client.predict(name, np.zeros((1, 3)))
            return None
        rows = frame.iloc[index : index + 1 + index % 3]
        answers = (
            client.predict(name, rows.to_numpy()).tolist(),
            client.predict(name, rows)["predictions"].tolist(),
            client.predict(name, rows.to_dict("records")),
            client.predict(name, {c: rows[c].to_numpy() for c in COLUMNS})["predictions"].tolist(),
        )
        assert answers == (expected[index : index + 1 + index % 3].tolist(),) * 4
        return None

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(ask, range(100)))
    house.undeploy(name)


@pytest.mark.slow
def test_a_model_that_fails_fails_its_call_alone(house: House, client: Client) -> None:
    name = house.deploy(
        house.model("misbehaving"), maxBatchCalls=8, memoryLimitBytes=str(800 * 2**20)
    )

    def ask(index: int) -> None:
        if index == 20:
            with pytest.raises(InternalError, match="what the model says"):
                client.predict(name, [{"order": "raise"}], timeout=60)
        elif index == 40:
            with pytest.raises(InternalError, match="exited with code 3"):
                client.predict(name, [{"order": "exit 3"}], timeout=60)
        elif index == 50:
            with pytest.raises(ResourceExhaustedError):
                client.predict(name, [{"order": "big 33"}], timeout=60)
        else:
            assert client.predict(name, [{"order": ""}], timeout=60)

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(ask, range(60)))
    house.undeploy(name)
    assert house.rpcs.failure("GetServedModel", name=name).code is grpc.StatusCode.NOT_FOUND
