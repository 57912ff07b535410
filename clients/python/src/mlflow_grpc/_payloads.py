"""What users predict from, as requests, and the answers in the same kind.

numpy, pandas and pyarrow are imported when a caller comes with what they made.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlflow_grpc._structs import from_struct, from_value, text_key, to_struct
from mlflow_grpc._tensors import array_to_tensor, tensor_to_array
from mlflow_grpc.v1 import model_serving_service_pb2 as pb

__all__ = ["predict_request", "stream_item", "stream_request"]

# The keys that say that a dict is a whole body of MLflow's `/invocations`.
_BODIES = frozenset(
    {
        *("dataframe_split", "dataframe_records", "instances", "inputs"),
        *("messages", "prompt", "input"),
    }
)


def predict_request(
    name: str, data: Any, params: Mapping[str, Any] | None
) -> tuple[pb.PredictRequest, Callable[[pb.PredictResponse], Any]]:
    """The request for `data`, and how its response becomes an answer of the same kind."""
    if _is_a(data, "pandas", "DataFrame"):
        request = pb.PredictRequest(name=name, arrow=_to_arrow(data))
        return _with_params(request, params), _to_frame
    if _is_a(data, "numpy", "ndarray"):
        tensors = pb.Tensors(tensors=[array_to_tensor("", data)])
        return _with_params(pb.PredictRequest(name=name, tensors=tensors), params), _to_array
    if isinstance(data, Mapping) and data and all(_is_array(one) for one in data.values()):
        named = [array_to_tensor(key, array) for key, array in data.items()]
        request = pb.PredictRequest(name=name, tensors=pb.Tensors(tensors=named))
        return _with_params(request, params), _to_arrays
    request = pb.PredictRequest(name=name, json=to_struct(_body(data, params)))
    return request, _to_predictions if isinstance(data, list) else _to_dict


def stream_request(
    name: str, data: Any, params: Mapping[str, Any] | None
) -> pb.PredictStreamRequest:
    """The request for a stream of what a model yields for `data`, a list or a dict."""
    return pb.PredictStreamRequest(name=name, json=to_struct(_body(data, params)))


def stream_item(response: pb.PredictStreamResponse) -> Any:
    """What the model yielded."""
    return from_value(response.item)


def _is_a(data: Any, package: str, name: str) -> bool:
    module = sys.modules.get(package)
    return module is not None and isinstance(data, getattr(module, name))


def _is_array(data: Any) -> bool:
    return _is_a(data, "numpy", "ndarray")


def _body(data: Any, params: Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(data, Mapping):
        body = dict(data) if _BODIES & data.keys() else {"inputs": dict(data)}
    elif isinstance(data, list):
        body = {"dataframe_records" if _are_rows(data) else "inputs": data}
    else:
        raise TypeError(
            "predict takes a numpy array, a dict of them, a pandas data frame, a list or a dict, "
            f"not {type(data).__name__}"
        )
    records: Any = body.get("dataframe_records")
    if _are_rows(records) and "dataframe_split" not in body:
        del body["dataframe_records"]
        body["dataframe_split"] = _split(records)
    return body if params is None else {**body, "params": dict(params)}


def _are_rows(data: Any) -> bool:
    rows = isinstance(data, (list, tuple)) and bool(data)
    return rows and all(isinstance(row, Mapping) for row in data)


def _split(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows as MLflow's `dataframe_split`, as the keys of a Struct have no order.

    The columns are those that pandas makes of the rows, and a value that a row lacks is NaN,
    which pandas has there.
    """
    columns = list(map(text_key, dict.fromkeys(key for row in rows for key in row)))
    return {
        "columns": columns,
        "data": [[row.get(key, math.nan) for key in columns] for row in rows],
    }


def _with_params(request: pb.PredictRequest, params: Mapping[str, Any] | None) -> pb.PredictRequest:
    if params is not None:
        request.params.CopyFrom(to_struct(dict(params)))
    return request


def _to_arrow(frame: Any) -> bytes:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ImportError(
            "predicting from a data frame needs pyarrow: pip install 'mlflow-grpc[pandas]'"
        ) from error
    table = pa.Table.from_pandas(frame, preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _to_frame(response: pb.PredictResponse) -> Any:
    import pyarrow as pa

    with pa.ipc.open_stream(response.arrow) as reader:
        return reader.read_pandas()


def _to_array(response: pb.PredictResponse) -> Any:
    arrays = _to_arrays(response)
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _to_arrays(response: pb.PredictResponse) -> dict[str, Any]:
    return {tensor.name: tensor_to_array(tensor) for tensor in response.tensors.tensors}


def _to_dict(response: pb.PredictResponse) -> dict[str, Any]:
    return from_struct(response.json)


def _to_predictions(response: pb.PredictResponse) -> Any:
    answer = from_struct(response.json)
    return answer.get("predictions", answer)
