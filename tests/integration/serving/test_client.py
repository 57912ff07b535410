"""Both clients' serving methods against a real server: the answer is of the input's kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlflow_grpc import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServedModelState,
    UnimplementedError,
)
from tests.integration.serving.house import House
from tests.integration.serving.models import COLUMNS, train_forest
from tests.unit.client.driver import Driver

READY = ServedModelState.READY


@pytest.fixture(params=["sync", "aio"])
async def driver(request: pytest.FixtureRequest, house: House) -> AsyncIterator[Driver]:
    driver = Driver(request.param, house.address)
    yield driver
    await driver.close()


@pytest.fixture(scope="module")
def forest(house: House) -> Iterator[str]:
    name = house.deploy(house.model("forest"))
    yield name
    house.undeploy(name)


async def test_a_model_is_deployed_watched_and_undeployed(driver: Driver, house: House) -> None:
    uri, name = house.model("misbehaving"), f"client-{driver.kind}"
    deployed = await driver.call(
        "deploy_model",
        name,
        uri,
        environment={"A": "b"},
        memory_limit_bytes=2**30,
        predict_timeout=12.5,
        concurrency=2,
    )
    assert deployed.state is ServedModelState.DEPLOYING
    ready = await driver.call("wait_until_model_ready", name)
    assert (ready.state, ready.environment, ready.predict_timeout) == (READY, ("A",), 12.5)
    assert (ready.memory_limit_bytes, ready.concurrency, ready.replicas) == (2**30, 2, 1)
    (version,) = ready.versions
    assert (version.model_uri, version.resolved_uri, version.weight) == (uri, uri, 1)
    assert version.replicas[0].pid
    assert ready == await driver.call("get_served_model", name)
    assert ready in await driver.call("list_served_models")
    rows = [{"order": "environment A"}]
    assert await driver.call("predict", name, rows) == ["b"]
    items = await driver.call("predict_stream", name, [{"order": "count 2"}])
    assert [item["index"] for item in items] == [0, 1]
    await driver.call("undeploy_model", name)
    with pytest.raises(NotFoundError) as caught:
        await driver.call("predict", name, rows)
    assert caught.value.reason == "SERVED_MODEL_NOT_FOUND"


async def test_the_answer_is_of_the_kind_of_the_input(driver: Driver, forest: str) -> None:
    model, frame = train_forest()
    expected = model.predict(frame)

    array = await driver.call("predict", forest, frame.to_numpy())
    assert isinstance(array, np.ndarray)
    assert (array == expected).all()

    columns = {column: frame[column].to_numpy() for column in COLUMNS}
    arrays = await driver.call("predict", forest, columns)
    assert (arrays["predictions"] == expected).all()

    answer = await driver.call("predict", forest, frame)
    assert isinstance(answer, pd.DataFrame)
    assert (answer["predictions"].to_numpy() == expected).all()

    rows = frame.head(3).to_dict("records")
    assert await driver.call("predict", forest, rows) == expected[:3].tolist()

    lists: Any = frame.head(3).to_dict("list")
    assert await driver.call("predict", forest, lists) == {"predictions": expected[:3].tolist()}
    split = {"dataframe_split": frame.head(3).to_dict("split")}
    assert await driver.call("predict", forest, split) == {"predictions": expected[:3].tolist()}


async def test_what_cannot_be_predicted_from_is_said(driver: Driver, forest: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await driver.call("predict", forest, np.zeros((1, 3)))
    assert "3 columns, and the model takes 4" in caught.value.field_violations[0].description
    with pytest.raises(TypeError, match="numpy array"):
        await driver.call("predict", forest, "text")
    with pytest.raises(TypeError, match="complex"):
        await driver.call("predict", forest, np.zeros((1, 4), complex))
    with pytest.raises(UnimplementedError):
        await driver.call("predict_stream", forest, [[1.0, 2.0, 3.0, 4.0]])


async def test_a_model_that_cannot_be_loaded_is_an_error(driver: Driver, house: House) -> None:
    name = f"unloadable-{driver.kind}"
    with pytest.raises(FailedPreconditionError, match="what loading says"):
        await driver.call(
            "deploy_model", name, house.model("unloadable"), wait_until_ready=True, timeout=60
        )
    with pytest.raises(FailedPreconditionError, match="what loading says"):
        await driver.call("wait_until_model_ready", name)
    await driver.call("undeploy_model", name)
    with pytest.raises(NotFoundError):
        await driver.call("wait_until_model_ready", name)


async def test_rows_keep_the_order_of_their_columns(driver: Driver, house: House) -> None:
    def names(told: list[str]) -> list[str]:
        return [column.partition(":")[0] for column in told]

    name = house.deploy(house.model("telling"))
    row = {**dict.fromkeys("zebra", 1), **dict.fromkeys(COLUMNS, 0.5)}
    rows: list[dict[str, Any]] = [row, {**row, "more": 1}]
    told = await driver.call("predict", name, rows)
    assert names(told) == [*row, "more"]
    assert told[-1] == "more: float64 [nan, 1.0]"
    body = {"dataframe_records": rows}
    assert await driver.call("predict", name, body) == {"predictions": told}
    assert names(await driver.call("predict_stream", name, [row])) == [*row]
    house.undeploy(name)


async def test_what_json_cannot_hold_is_refused_before_it_is_sent(driver: Driver) -> None:
    for method in ("predict", "predict_stream"):
        with pytest.raises(TypeError, match="cannot be bytes"):
            await driver.call(method, "absent", [[b"bytes"]])


async def test_datetimes_are_sent_as_arrays(driver: Driver, house: House) -> None:
    name = house.deploy(house.model("telling_times"))
    texts = ["2024-01-31T12:30:00.000000001", "NaT"]
    what = np.array(["a", "b"])
    expected = await driver.call(
        "predict", name, pd.DataFrame({"at": pd.to_datetime(texts), "what": what})
    )
    assert "datetime64[ns]" in expected["predictions"][0]
    for at in (np.array(texts, "M8[ns]"), np.array(texts), np.array(texts, object)):
        told = await driver.call("predict", name, {"at": at, "what": what})
        assert told["predictions"].tolist() == expected["predictions"].tolist()
    days = np.array(["2024-01-31", "2024-02-01"], "M8[D]")
    told = await driver.call("predict", name, {"at": days, "what": what})
    assert "Timestamp('2024-02-01 00:00:00')" in told["predictions"][0]
    with pytest.raises(InvalidArgumentError, match="at"):
        await driver.call("predict", name, {"at": np.array(["soon", "later"]), "what": what})
    house.undeploy(name)
