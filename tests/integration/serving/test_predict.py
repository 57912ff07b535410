"""Predictions in each form of payload, and input that is refused."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from tests.integration.serving.house import House, order, predictions
from tests.integration.serving.models import COLUMNS, train_forest
from tests.rpc import Failure, describe

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture(scope="module")
def names(house: House) -> Iterator[dict[str, str]]:
    """A forest of named columns, one of a tensor, and a model of integers with a param."""
    kinds = ("forest", "tensor_forest", "scaling")
    names = {kind: f"predict-{kind.replace('_', '-')}" for kind in kinds}
    for kind, name in names.items():
        house.rpcs("DeployModel", name=name, modelUri=house.model(kind))
    for name in names.values():
        house.wait(name, lambda served: served.state == pb.SERVED_MODEL_STATE_READY)
    yield names
    for name in names.values():
        house.undeploy(name)


def by_json(name: str, **payload: Any) -> pb.PredictRequest:
    request = pb.PredictRequest(name=name)
    request.json.update(payload)
    return request


def tensor(array: Any, name: str = "", **changes: Any) -> pb.Tensor:
    array = np.asarray(array)
    datatype = {"f8": "FP64", "f4": "FP32", "i8": "INT64"}[array.dtype.str[1:]]
    whole = {"datatype": datatype, "shape": array.shape, "data": array.tobytes()}
    return pb.Tensor(name=name, **{**whole, **changes})


def by_tensors(name: str, *tensors: pb.Tensor) -> pb.PredictRequest:
    return pb.PredictRequest(name=name, tensors=pb.Tensors(tensors=tensors))


def by_arrow(name: str, frame: pd.DataFrame) -> pb.PredictRequest:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pb.PredictRequest(name=name, arrow=sink.getvalue())


def array_of(response: pb.PredictResponse) -> np.ndarray[Any, Any]:
    (found,) = response.tensors.tensors
    dtype = {"INT64": "<i8", "FP64": "<f8"}[found.datatype]
    return np.frombuffer(found.data, dtype).reshape(list(found.shape))


def test_the_forms_of_input_agree_with_the_model_itself(
    house: House, names: dict[str, str]
) -> None:
    model, frame = train_forest()
    expected = model.predict(frame)
    forest = names["forest"]

    response = house.stub.Predict(by_tensors(forest, tensor(frame.to_numpy())))
    assert (array_of(response) == expected).all()
    assert response.model_uri == "models:/forest/1"

    columns = [tensor(frame[column].to_numpy(), column) for column in COLUMNS]
    assert (array_of(house.stub.Predict(by_tensors(forest, *columns))) == expected).all()

    response = house.stub.Predict(by_arrow(forest, frame))
    with pa.ipc.open_stream(response.arrow) as reader:
        assert reader.read_pandas()["predictions"].tolist() == expected.tolist()

    split = {"columns": COLUMNS, "data": frame.to_numpy().tolist()}
    response = house.stub.Predict(by_json(forest, dataframe_split=split))
    assert predictions(response) == expected.tolist()

    model, data = train_forest(columns=False)
    response = house.stub.Predict(by_tensors(names["tensor_forest"], tensor(data, "any name")))
    assert (array_of(response) == model.predict(data)).all()


def test_params_go_with_every_form(house: House, names: dict[str, str]) -> None:
    scaling = names["scaling"]
    asked = by_json(scaling, dataframe_records=[{"n": 7}], params={"factor": 3})
    assert predictions(house.stub.Predict(asked)) == [{"n": 21}]
    for request in (
        by_tensors(scaling, tensor(np.array([7]), "n")),
        by_arrow(scaling, pd.DataFrame({"n": [7]})),
    ):
        request.params.update({"factor": 3})
        response = house.stub.Predict(request)
        if response.arrow:
            with pa.ipc.open_stream(response.arrow) as reader:
                assert reader.read_pandas().to_dict("list") == {"n": [21]}
        else:
            assert array_of(response).tolist() == [21]


def fail(house: House, request: pb.PredictRequest) -> Failure:
    with pytest.raises(grpc.RpcError) as caught:
        house.stub.Predict(request, timeout=30)
    return describe(caught.value)


ONE = np.array([ROW])
TEXT = struct.pack("<I", 2) + b"\xff\xfe"

# Which model, the request to it, the field that is named, and words of the explanation.
REFUSED: dict[str, tuple[str, Any, str, str]] = {
    "too few bytes": (
        "forest",
        lambda n: by_tensors(n, tensor(ONE, data=b"\0" * 31)),
        "tensors.tensors[0].data",
        "has 31 bytes, and [1, 4] of FP64 takes 32",
    ),
    "too many bytes": (
        "forest",
        lambda n: by_tensors(n, tensor(ONE, shape=[1, 3])),
        "tensors.tensors[0].data",
        "takes 24",
    ),
    "a negative dimension": (
        "forest",
        lambda n: by_tensors(n, tensor(ONE, shape=[-1, 4])),
        "tensors.tensors[0].shape",
        "negative",
    ),
    "a huge shape": (
        "forest",
        lambda n: by_tensors(n, tensor(ONE, shape=[2**62, 2**62])),
        "tensors.tensors[0].data",
        "32 bytes",
    ),
    "an unknown datatype": (
        "forest",
        lambda n: by_tensors(n, tensor(ONE, datatype="FLOAT")),
        "tensors.tensors[0].datatype",
        "FP64",
    ),
    "text that is not UTF-8": (
        "forest",
        lambda n: by_tensors(n, tensor(ONE, datatype="BYTES", shape=[1], data=TEXT)),
        "tensors.tensors[0].data",
        "UTF-8",
    ),
    "text that ends early": (
        "forest",
        lambda n: by_tensors(n, tensor(ONE, datatype="BYTES", shape=[1], data=TEXT[:5])),
        "tensors.tensors[0].data",
        "ends within",
    ),
    "a column too few": (
        "forest",
        lambda n: by_tensors(n, tensor(ONE[:, :3])),
        "tensors.tensors[0].shape",
        "3 columns, and the model takes 4",
    ),
    "columns of different lengths": (
        "forest",
        lambda n: by_tensors(n, *(tensor(np.zeros(i + 1), c) for i, c in enumerate(COLUMNS))),
        "tensors.tensors[1].shape",
        "2 rows",
    ),
    "a tensor twice": (
        "forest",
        lambda n: by_tensors(n, tensor(ONE, "a"), tensor(ONE, "a")),
        "tensors.tensors[1].name",
        "twice",
    ),
    "no tensor": ("forest", lambda n: by_tensors(n), "tensors.tensors", "empty"),
    "a missing column": (
        "forest",
        lambda n: by_json(n, dataframe_records=[{COLUMNS[0]: 1.0}]),
        "payload",
        "missing inputs",
    ),
    "text for a number": (
        "forest",
        lambda n: by_json(n, dataframe_split={"columns": COLUMNS, "data": [["x", 1, 1, 1]]}),
        "payload",
        "sepal length",
    ),
    "ragged rows": (
        "tensor_forest",
        lambda n: by_json(n, inputs=[[1.0, 2.0, 3.0, 4.0], [1.0]]),
        "payload",
        "inhomogeneous",
    ),
    "NaN for an integer": (
        "scaling",
        lambda n: by_tensors(n, tensor(np.array([1.0, np.nan]), "n")),
        "payload",
        "Incompatible input types for column n",
    ),
    "null for an integer": (
        "scaling",
        lambda n: by_json(n, dataframe_records=[{"n": 1}, {"n": None}]),
        "payload",
        "n",
    ),
    "a wrong param": (
        "scaling",
        lambda n: by_json(n, dataframe_records=[{"n": 1}], params={"factor": "x"}),
        "payload",
        "factor",
    ),
    "no known key": ("forest", lambda n: by_json(n, rows=[]), "payload", "dataframe_split"),
    "two keys": (
        "forest",
        lambda n: by_json(n, inputs=[], instances=[]),
        "payload",
        "exactly one",
    ),
    "bytes that are no Arrow": (
        "forest",
        lambda n: pb.PredictRequest(name=n, arrow=b"nonsense"),
        "arrow",
        "Arrow",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_input_that_does_not_fit_is_refused_with_its_reason(
    house: House, names: dict[str, str], what: str
) -> None:
    kind, make, field, said = REFUSED[what]
    failure = fail(house, make(names[kind]))
    assert (failure.code, failure.fields) == (INVALID, (field,)), failure.message
    assert said in failure.message


def test_a_hundred_mebibytes_are_refused(house: House, names: dict[str, str]) -> None:
    huge = tensor(np.zeros((100 * 2**15, 4)))
    failure = fail(house, by_tensors(names["forest"], huge))
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    one = house.stub.Predict(by_tensors(names["forest"], tensor(ONE)))
    assert array_of(one).tolist() == [0]


def test_a_stream_sends_what_the_model_yields(house: House, misbehaving: str) -> None:
    def items(text: str) -> list[Any]:
        request = pb.PredictStreamRequest(name=misbehaving, json=order("", text).json)
        found = []
        for response in house.stub.PredictStream(request, timeout=30):
            found.append(response.item.struct_value["index"])
        return found

    assert items("count 3") == [0, 1, 2]
    with pytest.raises(grpc.RpcError) as caught:
        items("raise 2")
    assert describe(caught.value).reason == "MODEL_FAILED"
    assert items("count 1") == [0]


def test_a_stream_that_nobody_reads_stops_the_model(
    house: House, misbehaving: str, tmp_path: Any
) -> None:
    flag = tmp_path / "flag"
    request = pb.PredictStreamRequest(name=misbehaving, json=order("", f"touch {flag}").json)
    call = house.stub.PredictStream(request, timeout=30)
    next(call)
    call.cancel()
    # The one replica answers again, so that the stream has ended in it.
    assert predictions(house.stub.Predict(order(misbehaving, ""), timeout=30))
    assert int(flag.read_text()) < 100_000


def test_a_model_without_a_stream_says_so(house: House, names: dict[str, str]) -> None:
    request = pb.PredictStreamRequest(name=names["forest"])
    request.json.update({"inputs": [ROW]})
    with pytest.raises(grpc.RpcError) as caught:
        list(house.stub.PredictStream(request, timeout=30))
    failure = describe(caught.value)
    assert (failure.code, failure.reason) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "NOT_A_STREAMING_MODEL",
    )
