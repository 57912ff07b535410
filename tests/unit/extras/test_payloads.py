"""What numpy and pandas have becomes a request that says the same, or a TypeError."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.unit.client.test_payloads import body


def test_what_numpy_has_keeps_its_value() -> None:
    third = np.float32(1) / np.float32(3)
    numbers = [third, np.int64(-3), np.uint8(7), np.float16(0.5), np.bool_(True), np.float64(2.5)]
    ((sent,),) = body([numbers]).values()
    assert sent == [float(third), -3, 7, 0.5, True, 2.5]
    assert np.float32(sent[0]) == third
    assert body([np.array([[1.0, 2.5]]), np.str_("a")]) == {"inputs": [[[1, 2.5]], "a"]}
    assert body([1, {"a": np.int64(7)}], {"p": np.float32(1.5)}) == {
        "inputs": [1, {"a": 7}],
        "params": {"p": 1.5},
    }
    assert body([np.array(["a", None, (1,)], dtype=object)]) == {"inputs": [["a", None, [1]]]}


def test_what_numpy_has_and_json_cannot_hold_is_refused() -> None:
    for value, named in (
        (np.datetime64("2024-01-01T00:00:00", "ns"), r"datetime64 of datetime64\[ns\]"),
        (np.array(["2024-01-01"], "M8[D]"), r"ndarray of datetime64\[D\]"),
        (np.timedelta64(1, "ns"), r"timedelta64 of timedelta64\[ns\]"),
        (np.complex64(1), "complex"),
        (np.array([b"bytes"]), "bytes"),
        (np.longdouble(1), "longdouble of float"),
    ):
        with pytest.raises(TypeError, match=f"cannot be {named}"):
            body([value])


@pytest.mark.parametrize(
    "rows",
    [
        [{"z": 1}, {"a": 2}],
        [{"z": "x", "a": True}, {"m": [1], "z": None}],
        [{"z": {"b": 1}}, {}],
        [{}, {}],
    ],
)
def test_rows_of_different_keys_are_the_frame_that_pandas_makes_of_them(rows: Any) -> None:
    sent = pd.DataFrame(**body(rows)["dataframe_split"])
    expected = pd.DataFrame(rows)
    assert list(sent.columns) == list(expected.columns)
    assert sent.index.equals(expected.index)
    for column in expected:
        assert repr(list(sent[column])) == repr(list(expected[column]))
