"""What a request asks a model, and how the answer is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from google.protobuf import json_format
from mlflow.types import ColSpec, DataType, Schema

from mlflow_grpc._tensors import pack_bytes
from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from mlflow_grpc_server.exceptions import InvalidFieldError
from mlflow_grpc_server.serving import payloads
from mlflow_grpc_server.serving.payloads import (
    Question,
    encode_answer,
    parse_json,
    parse_request,
)

TIMES = ["2024-01-31T12:30:00", "2024-02-01T00:00:00"]
NAMED = Schema([ColSpec(DataType.datetime, "at"), ColSpec(DataType.string, "what")])
UNNAMED = Schema([ColSpec(DataType.datetime), ColSpec(DataType.string)])


def of_bytes(name: str, shape: list[int], *elements: str) -> pb.Tensor:
    data = pack_bytes(text.encode() for text in elements)
    return pb.Tensor(name=name, datatype="BYTES", shape=shape, data=data)


def frame_of(schema: Schema, *tensors: pb.Tensor) -> pd.DataFrame:
    request = pb.PredictRequest(tensors=pb.Tensors(tensors=tensors))
    frame: pd.DataFrame = parse_request(request, None, schema).data
    return frame


def test_text_for_a_datetime_is_read_as_in_json() -> None:
    rows = [[time, time] for time in TIMES]
    table = of_bytes("", [2, 2], *(time for row in rows for time in row))
    columns = of_bytes("at", [2], *TIMES), of_bytes("what", [2], *TIMES)
    for schema, tensors in ((NAMED, columns), (NAMED, [table]), (UNNAMED, [table])):
        names = schema.input_names() if schema.has_input_names() else [0, 1]
        split = {"columns": names, "data": rows}
        expected = parse_json({"dataframe_split": split}, None, schema).data
        assert expected.dtypes.tolist()[0] == np.dtype("datetime64[ns]")
        frame = frame_of(schema, *tensors)
        assert frame.dtypes.tolist()[0] == np.dtype("datetime64[ns]")
        assert frame.to_dict() == expected.to_dict()
    with pytest.raises(InvalidFieldError, match="at"):
        frame_of(NAMED, of_bytes("at", [1], "soon"), of_bytes("what", [1], ""))


def test_a_datetime_is_answered_as_the_text_that_is_asked_with() -> None:
    answer = pd.DataFrame({"at": pd.to_datetime([*TIMES, None])})
    encoded = encode_answer(answer, Question(None, None, "tensors"), None)
    (tensor,) = pb.PredictResponse.FromString(encoded).tensors.tensors
    assert tensor == of_bytes("at", [3], *TIMES, "NaT")
    schema = Schema([ColSpec(DataType.datetime, "at")])
    assert frame_of(schema, tensor)["at"].equals(answer["at"].astype("datetime64[ns]"))


def test_what_a_struct_cannot_tell_is_as_the_protos_say() -> None:
    request = pb.PredictRequest()
    request.json.update({"inputs": [[1.0, 2.0]]})
    assert parse_request(request, None, None).data.dtype == np.dtype("int64")
    request.json.update({"inputs": [[1.0, 2.5]]})
    assert parse_request(request, None, None).data.dtype == np.dtype("float64")
    for key in ("input", "prompt", "messages"):
        question = parse_json({key: "text"}, None, None)
        encoded = encode_answer(["a", "b"], question, None)
        answer = pb.PredictResponse.FromString(encoded).json
        assert json_format.MessageToDict(answer) == {"predictions": ["a", "b"]}


def test_what_unfolds_to_more_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "_MOST_ARROW_BYTES", 2**20)
    batch = pa.record_batch({"x": np.zeros(2**16)})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        for _ in range(3):
            writer.write_batch(batch)
    request = pb.PredictRequest(arrow=sink.getvalue().to_pybytes())
    assert len(request.arrow) < 10_000
    with pytest.raises(InvalidFieldError, match="unfolds to more than 1,048,576 bytes"):
        parse_request(request, None, None)
