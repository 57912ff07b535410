"""Requests to what a pyfunc model takes, and what it gives to responses.

JSON goes through MLflow's own scoring server, so that a model answers as it does there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import DataType
from mlflow.utils.proto_json_utils import (
    NumpyEncoder,
    _get_jsonable_obj,
    cast_df_types_according_to_schema,
)
from pandas.api.types import is_numeric_dtype

from mlflow_grpc._structs import from_struct, to_struct, to_value
from mlflow_grpc.v1 import model_serving_service_pb2 as pb
from mlflow_grpc_server.exceptions import InvalidFieldError
from mlflow_grpc_server.serving.spec import TensorInfo
from mlflow_grpc_server.serving.tensors import (
    array_to_tensor,
    arrays_to_tensors,
    datatype_of,
    tensor_to_array,
    tensors_by_name,
)

__all__ = [
    "Question",
    "encode_answer",
    "encode_item",
    "parse_json",
    "parse_request",
    "tensor_infos",
]

_PREDICTIONS = "predictions"
_MOST_WORDS = 2000
_MOST_ARROW_BYTES = 2**29
_COLUMN_DATATYPES = {
    DataType.boolean: "BOOL",
    DataType.integer: "INT32",
    DataType.long: "INT64",
    DataType.float: "FP32",
    DataType.double: "FP64",
}


class Question(NamedTuple):
    """What a model is asked, and how it is to be answered."""

    data: Any
    params: dict[str, Any] | None
    form: str
    """`json`, `tensors` or `arrow`."""
    unwrapped: bool = False
    """Whether JSON is answered without the key `predictions`, as language models are."""


def parse_request(request: pb.PredictRequest, metadata: Any, schema: Schema | None) -> Question:
    """Return what a request asks a model of this MLflow metadata and input schema.

    Raises InvalidFieldError for input that cannot be read.
    """
    form = request.WhichOneof("payload")
    if form == "json":
        return parse_json(from_struct(request.json), metadata, schema)
    with _invalid("payload"):
        params = from_struct(request.params) if request.HasField("params") else None
        if form == "tensors":
            return Question(_from_tensors(request.tensors, schema), params, form)
        return Question(_from_arrow(request.arrow), params, "arrow")


def parse_json(parsed: dict[str, Any], metadata: Any, schema: Schema | None) -> Question:
    """Return what the body of MLflow's `/invocations` asks.

    Raises InvalidFieldError for a body that cannot be read.
    """
    with _invalid("payload"):
        found = scoring_server._parse_json_data(parsed, metadata, schema)
        return Question(found.data, found.params, "json", found.is_unified_llm_input)


@contextmanager
def _invalid(field: str, fault: str = "") -> Iterator[None]:
    """Raise InvalidFieldError for what parsers raise, which is whatever they trip over."""
    try:
        yield
    except (InvalidFieldError, MemoryError):
        raise
    except MlflowException as error:
        raise InvalidFieldError(field, fault + error.message) from error
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        raise InvalidFieldError(field, fault + words[:_MOST_WORDS]) from error


def _from_arrow(data: bytes) -> pd.DataFrame:
    with _invalid("arrow", "is not a stream of Arrow IPC: "):
        with pa.ipc.open_stream(data) as reader:
            table = pa.Table.from_batches(_sound(reader), reader.schema)
        return table.to_pandas()


def _sound(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    size = 0
    for batch in batches:
        # Offsets and indices that lead out of the data end the process that follows them.
        batch.validate(full=True)
        # What is compressed may unfold to any size.
        size += batch.nbytes
        if size > _MOST_ARROW_BYTES:
            raise ValueError(f"it unfolds to more than {_MOST_ARROW_BYTES:,} bytes")
        yield batch


def _from_tensors(tensors: pb.Tensors, schema: Schema | None) -> Any:
    named = tensors_by_name(tensors.tensors, "tensors.tensors")
    binary = _binary_inputs(schema)
    arrays = {
        name: tensor_to_array(tensor, path, text=name not in binary)
        for name, (path, tensor) in named.items()
    }
    single = next(iter(arrays.values())) if len(arrays) == 1 else None
    if schema is None:
        return arrays if single is None else single
    names = schema.input_names() if schema.has_input_names() else []
    if schema.is_tensor_spec():
        if not names:
            if single is None:
                raise InvalidFieldError("tensors.tensors", "must be one: the model takes no more")
            return single
        return {names[0]: single} if single is not None and len(names) == 1 else arrays
    if single is not None and single.ndim == 2 and not set(arrays) & set(names):
        return _with_datetimes(_table(single, names), schema)
    return _with_datetimes(_columns(arrays), schema)


def _binary_inputs(schema: Schema | None) -> set[str]:
    if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
        return set()
    return {column.name for column in schema.inputs if column.type == DataType.binary}


def _table(array: np.ndarray[Any, Any], names: list[str]) -> pd.DataFrame:
    if names and array.shape[1] != len(names):
        raise InvalidFieldError(
            "tensors.tensors[0].shape",
            f"has {array.shape[1]:,} columns, and the model takes {len(names):,}: {names}",
        )
    return pd.DataFrame(array, columns=names or None)


def _columns(arrays: dict[str, np.ndarray[Any, Any]]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    rows = None
    for index, (name, array) in enumerate(arrays.items()):
        path = f"tensors.tensors[{index}].shape"
        if array.ndim == 0:
            raise InvalidFieldError(path, "is that of a single element: a column has rows")
        if rows not in (None, len(array)):
            raise InvalidFieldError(path, f"has {len(array):,} rows, and the first has {rows:,}")
        rows = len(array)
        flat = array.reshape(rows) if array.size == rows else list(array)
        columns[name] = flat
    return pd.DataFrame(columns)


def _with_datetimes(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Read the columns of datetimes, which come as text, as MLflow reads them in JSON."""
    names = schema.input_names() if schema.has_input_names() else frame.columns
    columns = [
        ColSpec(DataType.datetime, name)
        for name, kind in zip(names, schema.input_types(), strict=False)
        if kind == DataType.datetime and name in frame and not is_numeric_dtype(frame[name])
    ]
    return cast_df_types_according_to_schema(frame, Schema(columns)) if columns else frame


def encode_answer(predictions: Any, question: Question, outputs: Schema | None) -> bytes:
    """Return a serialized PredictResponse without its model_uri."""
    if question.form == "json":
        response = pb.PredictResponse(json=_to_struct(predictions, unwrapped=question.unwrapped))
    elif question.form == "tensors":
        response = pb.PredictResponse(tensors=_to_tensors(predictions, outputs))
    else:
        response = pb.PredictResponse(arrow=_to_arrow(_to_frame(predictions, outputs)))
    return response.SerializeToString()


def encode_item(item: Any) -> bytes:
    """Return what MLflow's JSON makes of an item of a stream, as a serialized Value."""
    plain = json.loads(json.dumps(_get_jsonable_obj(item), cls=NumpyEncoder))
    return to_value(plain).SerializeToString()


def _to_struct(predictions: Any, *, unwrapped: bool) -> Any:
    text = StringIO()
    if unwrapped:
        scoring_server.unwrapped_predictions_to_json(predictions, text)
    else:
        scoring_server.predictions_to_json(predictions, text)
    parsed = json.loads(text.getvalue())
    return to_struct(parsed if isinstance(parsed, dict) else {_PREDICTIONS: parsed})


def _to_tensors(predictions: Any, outputs: Schema | None) -> pb.Tensors:
    if isinstance(predictions, pd.DataFrame):
        return arrays_to_tensors({str(name): predictions[name] for name in predictions.columns})
    if isinstance(predictions, dict):
        return arrays_to_tensors(predictions)
    name = _output_names(outputs, 1)[0]
    return pb.Tensors(tensors=[array_to_tensor(name, _dense(predictions))])


def _to_frame(predictions: Any, outputs: Schema | None) -> pd.DataFrame:
    if isinstance(predictions, pd.DataFrame):
        return predictions
    if isinstance(predictions, dict):
        return pd.DataFrame(predictions)
    array = np.asarray(_dense(predictions))
    if array.ndim != 2:
        return pd.DataFrame({_output_names(outputs, 1)[0]: list(array) if array.ndim else [array]})
    return pd.DataFrame(array, columns=_output_names(outputs, array.shape[1]))


def _to_arrow(frame: pd.DataFrame) -> bytes:
    table = pa.Table.from_pandas(frame.rename(columns=str), preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _dense(predictions: Any) -> Any:
    return predictions.toarray() if hasattr(predictions, "toarray") else predictions


def _output_names(outputs: Schema | None, count: int) -> list[str]:
    if outputs is not None and outputs.has_input_names() and len(outputs.inputs) == count:
        return [str(name) for name in outputs.input_names()]
    return [_PREDICTIONS] if count == 1 else [str(index) for index in range(count)]


def tensor_infos(schema: Schema | None, unnamed: str) -> list[TensorInfo]:
    """Return what a schema says, in the words of the Open Inference Protocol."""
    if schema is None:
        return []
    infos = []
    for index, spec in enumerate(schema.inputs):
        name = spec.name or (unnamed if len(schema.inputs) == 1 else f"{unnamed}-{index}")
        if schema.is_tensor_spec():
            infos.append(TensorInfo(name, datatype_of(spec.type), tuple(spec.shape)))
        else:
            datatype = _COLUMN_DATATYPES.get(spec.type, "BYTES")
            infos.append(TensorInfo(name, datatype, (-1,)))
    return infos
