"""Data as datasets, equal to what MLflow itself makes of the same data."""

from __future__ import annotations

import datetime
import json
import threading
import warnings
from pathlib import Path
from typing import Any

import mlflow.data
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.data.dataset_source_registry import get_dataset_source_from_json

from mlflow_grpc import AsyncClient
from mlflow_grpc._datasets import dataset_input
from tests.conftest import Served
from tests.unit.client.driver import Driver

FRAMES = {
    "numbers": pd.DataFrame({"x": [1.0, 2.0], "n": [1, 2]}),
    "texts": pd.DataFrame({"s": ["a", "b"], "t": ["ü", "日本"]}),
    "objects": pd.DataFrame({"s": pd.Series(["a", "b"], dtype=object)}),
    "sizes": pd.DataFrame(
        {
            kind: np.zeros(2, kind)
            for kind in (
                "int8",
                "int16",
                "int32",
                "uint8",
                "uint16",
                "uint32",
                "float16",
                "float32",
            )
        }
    ),
    "no schema": pd.DataFrame({"big": np.zeros(2, "uint64"), "x": [1, 2]}),
    "truths": pd.DataFrame({"b": [True, False], "n": [1, 2]}),
    "times": pd.DataFrame({"t": pd.to_datetime(["2024-01-01", "2024-01-02"]), "n": [1, 2]}),
    "days": pd.DataFrame({"d": [datetime.date(2024, 1, 1)] * 2, "n": [1, 2]}),
    "missing": pd.DataFrame({"x": [1.0, None], "s": ["a", None], "n": [1, 2]}),
    "nothing known": pd.DataFrame({"x": [None, None], "n": [1, 2]}),
    "nullable": pd.DataFrame({"n": pd.array([1, None], "Int64"), "m": [1, 2]}),
    "bytes": pd.DataFrame({"b": [b"1", b"2"], "n": [1, 2]}),
    "mixed": pd.DataFrame({"o": [1, "a"], "n": [1, 2]}),
    "categories": pd.DataFrame({"c": pd.Categorical(["a", "b"]), "n": [1, 2]}),
    "unnamed columns": pd.DataFrame(np.ones((2, 3))),
    "an index": pd.DataFrame({"x": [1.0, 2.0]}, index=["one", "two"]),
    "order": pd.DataFrame({"b": [1, 2], "a": ["x", "y"], "c": [0.5, 1.5]}),
    "long": pd.DataFrame({"x": np.arange(10_001)}),
    "empty": pd.DataFrame({"x": np.zeros(0), "s": pd.Series([], dtype=object)}),
}
ARRAYS = {
    "floats": np.arange(6.0).reshape(3, 2),
    "row": np.arange(3),
    "images": np.zeros((2, 3, 4, 1), "uint8"),
    "long": np.arange(10_001),
    "texts": np.array(["a", "bc"]),
    "truths": np.array([True, False]),
    "objects": np.array([{}, []], dtype=object),
    "scalar": np.array(3.5),
    "times": np.array(["2024-01-01"], dtype="datetime64[ns]"),
    "bytes": np.array([b"a", b"bc"]),
    "strided": np.arange(12).reshape(3, 4)[:, ::2],
}


def described(data: Any, **options: Any) -> dict[str, Any]:
    """What the client says of data, as MLflow's `to_dict` would."""
    ours = dataset_input(data, None, options.get("name"), options.get("source"), {}).dataset
    return {
        "name": ours.name,
        "digest": ours.digest,
        "source_type": ours.source_type,
        "source": ours.source,
        "schema": ours.schema or None,
        "profile": ours.profile or None,
    }


def by_mlflow(make: Any, data: Any, **options: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        # Hints about columns of integers.
        warnings.simplefilter("ignore")
        return dict(make(data, **options).to_dict())


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_is_what_mlflow_says(name: str) -> None:
    frame, source = FRAMES[name], "s3://bucket/x"
    assert described(frame, source=source) == by_mlflow(
        mlflow.data.from_pandas, frame, source=source
    )


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_what_mlflow_says(name: str) -> None:
    array, source = ARRAYS[name], "s3://bucket/x"
    assert described(array, source=source) == by_mlflow(
        mlflow.data.from_numpy, array, source=source
    )


@pytest.mark.parametrize(
    "source",
    [
        "s3://bucket/x.csv",
        "gs://bucket/x.csv",
        "/data/x.csv",
        "data/x.csv",
        "file:///data/x.csv",
        "https://example.com/x.csv",
        "http://example.com/x.csv",
    ],
)
def test_sources_are_mlflows(source: str) -> None:
    """They can be loaded by whoever reads the run with MLflow."""
    frame = FRAMES["numbers"]
    ours = described(frame, name="n", source=source)
    assert ours == by_mlflow(mlflow.data.from_pandas, frame, name="n", source=source)
    there = get_dataset_source_from_json(ours["source"], ours["source_type"])
    assert source in (getattr(there, "uri", None), getattr(there, "url", None))


@pytest.mark.parametrize("kind", ["sync", "aio"])
async def test_data_becomes_datasets(served: Served, tmp_path: Path, kind: str) -> None:
    driver = Driver(kind, served.address)
    run_id = (await driver.call("create_run", "0")).info.run_id
    frame = FRAMES["order"]
    table = tmp_path / "table.csv"
    frame.to_csv(table)
    theirs = mlflow.data.from_pandas(frame, name="theirs")
    for data, context, options in (
        (frame, "training", {"name": "frame", "source": "s3://bucket/x.csv"}),
        (ARRAYS["floats"], "testing", {"name": f"array {kind}"}),
        (table, None, {"name": f"{kind}.csv"}),
        (theirs, "validation", {}),
    ):
        await driver.call("log_dataset", run_id, data, context, **options)
    with pytest.raises(TypeError, match="no dataset"):
        await driver.call("log_dataset", run_id, object())
    stored = {
        one.dataset.name: (one.dataset, {tag.key: tag.value for tag in one.tags})
        for one in MlflowClient(served.backend_store_uri).get_run(run_id).inputs.dataset_inputs
    }
    assert set(stored) == {"frame", f"array {kind}", f"{kind}.csv", "theirs"}
    dataset, tags = stored["frame"]
    assert tags == {"mlflow.data.context": "training"}
    assert (dataset.source_type, json.loads(dataset.source)) == ("s3", {"uri": "s3://bucket/x.csv"})
    assert stored["theirs"][0].digest == dataset.digest == theirs.digest
    dataset, tags = stored[f"{kind}.csv"]
    assert (dataset.source_type, json.loads(dataset.source)) == ("local", {"uri": str(table)})
    assert tags == {}
    await driver.close()


async def test_data_is_read_off_the_event_loop(served: Served) -> None:
    on_loop = []

    class Frame(pd.DataFrame):
        """Tells who looks at its columns."""

        @property
        def dtypes(self) -> Any:
            on_loop.append(threading.current_thread() is threading.main_thread())
            return super().dtypes

    async with AsyncClient(served.address) as client:
        run = await client.create_run("0")
        await client.log_dataset(run.info.run_id, Frame({"x": [1]}))
    assert on_loop
    assert not any(on_loop)
