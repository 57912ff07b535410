"""Streams of Arrow that are not sound: refused, and no process ends of them."""

from __future__ import annotations

import json
import struct
import subprocess
import sys

import grpc
import pandas as pd
import pyarrow as pa
import pytest

from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from tests.integration.serving.house import House
from tests.rpc import describe

# Reads streams with a few bytes changed, as a replica does, and looks at every value.
FUZZ = """
import collections, json, pickle, random, sys
import pandas as pd, pyarrow as pa
from mlflow_grpc.v1.model_serving_service_pb2 import PredictRequest
from mlflow_grpc_server.exceptions import InvalidFieldError
from mlflow_grpc_server.serving.payloads import parse_request

def stream(table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()

plain = pd.DataFrame({"s": ["abc", None] * 5, "x": range(10), "c": pd.Categorical(["u", "v"] * 5)})
plain["t"] = pd.date_range("2024", periods=10, tz="UTC")
nested = {
    "l": [[b"a", b"bc"]] * 6,
    "m": pa.array([[("k", 1)]] * 6, pa.map_(pa.string(), pa.int64())),
    "v": pa.array(["in line", "a text that is not in line"] * 3, pa.string_view()),
    "d": pa.array([{"a": 1, "b": "x"}] * 6),
    "f": pa.array([[1, 2]] * 6, pa.list_(pa.int32(), 2)),
}
streams = [stream(pa.Table.from_pandas(plain)), stream(pa.table(nested))]
choice = random.Random(20240101)
found = collections.Counter()
for _ in range(int(sys.argv[1])):
    changed = bytearray(choice.choice(streams))
    for _ in range(choice.choice((1, 2, 8))):
        wild = choice.choice((0, 127, 255, choice.randrange(256)))
        changed[choice.randrange(len(changed))] = wild
    try:
        data = parse_request(PredictRequest(arrow=bytes(changed)), None, None).data
        pickle.dumps(data)
        found["read"] += 1
    except InvalidFieldError as error:
        assert error.fields[0] == "arrow"
        found["refused"] += 1
print(json.dumps(found))
"""


def stream(frame: pd.DataFrame) -> bytes:
    table = pa.Table.from_pandas(frame)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def with_a_wild_offset() -> bytes:
    """A frame of text, of which one begins far out of the data."""
    data = bytearray(stream(pd.DataFrame({"order": ["abc", "def", "ghi"]})))
    # pandas may have text with offsets of 4 bytes or of 8.
    for code, size in (("<4i", 4), ("<4q", 8)):
        at = data.find(struct.pack(code, 0, 3, 6, 9))
        if at >= 0:
            struct.pack_into(code[0] + code[2], data, at + size, 0x7FFFFF00)
            return bytes(data)
    raise AssertionError("the offsets are not to be found")


def test_offsets_out_of_the_data_are_refused(house: House, misbehaving: str) -> None:
    house.wait(misbehaving, lambda served: served.state == pb.SERVED_MODEL_STATE_READY)
    before = house.get(misbehaving).versions[0].replicas[0]
    request = pb.PredictRequest(name=misbehaving, arrow=with_a_wild_offset())
    with pytest.raises(grpc.RpcError) as caught:
        house.stub.Predict(request, timeout=30)
    failure = describe(caught.value)
    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ("arrow",))
    assert house.get(misbehaving).versions[0].replicas[0] == before


def test_whatever_stands_in_a_stream_ends_no_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, "3000"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["read"] > 100
    assert found["refused"] > 1000
