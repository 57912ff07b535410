"""What users predict from becomes a request that says the same, or a TypeError."""

from __future__ import annotations

import datetime
import decimal
import math
from collections import ChainMap, namedtuple
from typing import Any

import pytest

from mlflow_grpc._payloads import predict_request, stream_request
from mlflow_grpc._structs import from_struct
from mlflow_grpc.v1 import model_serving_service_pb2 as pb

Point = namedtuple("Point", "x y")


def body(data: Any, params: Any = None) -> dict[str, Any]:
    """What a server reads; the body of a stream is the same."""
    request, _ = predict_request("n", data, params)
    parsed = from_struct(request.json)
    assert repr(parsed) == repr(from_struct(stream_request("n", data, params).json))
    return parsed


def test_values_of_json_are_sent_as_they_are() -> None:
    values = [None, True, 1, 1.5, "text", [1], {"a": {"b": None}}, math.inf]
    assert body([values]) == {"inputs": [values]}
    (((nan,),),) = body([[math.nan]]).values()
    assert math.isnan(nan)
    assert body([(1, 2), Point(3, 4)]) == {"inputs": [[1, 2], [3, 4]]}
    assert body([1, ChainMap({"a": 1})]) == {"inputs": [1, {"a": 1}]}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (datetime.datetime(2024, 1, 1), "datetime"),
        (datetime.date(2024, 1, 1), "date"),
        (b"bytes", "bytes"),
        (bytearray(b"bytes"), "bytearray"),
        ({1}, "set"),
        (1j, "complex"),
        (decimal.Decimal(1), "Decimal"),
        (object(), "object"),
        ({1: 2}, "int"),
        ({None: 2}, "NoneType"),
        (10**400, "int beyond what a double holds"),
    ],
)
def test_what_json_cannot_hold_is_refused(value: Any, named: str) -> None:
    for data in ([value], [[value]], {"a": value}, [{"a": value}], {"inputs": value}):
        with pytest.raises(TypeError, match=rf"cannot be {named}$"):
            body(data)
    with pytest.raises(TypeError, match=rf"cannot be {named}$"):
        body([1], {"p": value})


def test_keys_that_are_no_text_are_refused() -> None:
    for data in ({1: [2]}, [{"a": 1}, {1: 2}], {"dataframe_records": [{1: 2}]}):
        with pytest.raises(TypeError, match="a key of JSON is text, and cannot be int"):
            body(data)


def test_rows_keep_the_order_of_their_columns() -> None:
    names = [f"{letter}{number}" for letter in "zaymb" for number in range(8)]
    rows = [dict.fromkeys(names, 1), dict.fromkeys(reversed(names), 2)]
    split = {"columns": names, "data": [[1] * len(names), [2] * len(names)]}
    assert body(rows) == {"dataframe_split": split}
    for records in (rows, tuple(rows)):
        assert body({"dataframe_records": records}) == {"dataframe_split": split}
    assert body(rows, {"p": 1}) == {"dataframe_split": split, "params": {"p": 1}}
    # They are not rows of a data frame, and MLflow tells what is wrong with them.
    for other in ({"dataframe_records": []}, {"dataframe_records": [1]}, {"inputs": [{"a": 1}]}):
        assert body(other) == other
    both = {"dataframe_records": [{"a": 1}], "dataframe_split": {}}
    assert body(both) == both


def test_the_answer_is_of_the_kind_of_the_rows() -> None:
    response = pb.PredictResponse()
    response.json.update({"predictions": [1]})
    rows = [{"a": 1}]
    assert predict_request("n", rows, None)[1](response) == [1]
    assert predict_request("n", {"dataframe_records": rows}, None)[1](response) == {
        "predictions": [1]
    }
