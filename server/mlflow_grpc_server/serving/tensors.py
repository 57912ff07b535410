"""Tensors and numpy arrays: pure functions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from mlflow.utils.proto_json_utils import NumpyEncoder

from mlflow_grpc._tensors import DATATYPES, LENGTH, pack_bytes
from mlflow_grpc.v1.model_serving_service_pb2 import Tensor, Tensors
from mlflow_grpc_server.exceptions import InvalidFieldError

__all__ = ["array_to_tensor", "arrays_to_tensors", "datatype_of", "tensor_to_array"]

_DTYPES: Mapping[str, np.dtype[Any]] = {
    datatype: np.dtype(code) for datatype, code in DATATYPES.items()
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MOST_DIMENSIONS = 32


def tensor_to_array(tensor: Tensor, field: str, *, text: bool = True) -> np.ndarray[Any, Any]:
    """Return a tensor as an array of its own; BYTES as an array of str, or bytes if not `text`.

    Raises InvalidFieldError, naming what is below `field`, unless data fits shape and datatype.
    """
    shape = tuple(tensor.shape)
    if len(shape) > _MOST_DIMENSIONS or any(size < 0 for size in shape):
        raise InvalidFieldError(f"{field}.shape", "has a negative or more than 32 dimensions")
    count = math.prod(shape)
    if tensor.datatype == "BYTES":
        return _strings(tensor.data, count, f"{field}.data", text=text).reshape(shape)
    dtype = _DTYPES.get(tensor.datatype)
    if dtype is None:
        known = ", ".join((*_DTYPES, "BYTES"))
        raise InvalidFieldError(f"{field}.datatype", f"{tensor.datatype!r} is not one of {known}")
    if len(tensor.data) != count * dtype.itemsize:
        raise InvalidFieldError(
            f"{field}.data",
            f"has {len(tensor.data):,} bytes, and {list(shape)} of {tensor.datatype} takes "
            f"{count * dtype.itemsize:,}",
        )
    if dtype.kind == "b" and tensor.data.translate(None, b"\0\1"):
        raise InvalidFieldError(f"{field}.data", "has a byte other than 0 and 1 for a BOOL")
    # A copy, as models may write to what they are given.
    return np.frombuffer(tensor.data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _strings(data: bytes, count: int, field: str, *, text: bool) -> np.ndarray[Any, Any]:
    if count > len(data) // LENGTH.size:
        raise InvalidFieldError(field, f"is too short for {count:,} elements of BYTES")
    elements = np.empty(count, dtype=object)
    at = 0
    for index in range(count):
        if at + LENGTH.size > len(data):
            raise InvalidFieldError(field, f"ends before element {index} of BYTES")
        (length,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        element = data[at : at + length]
        at += length
        if len(element) < length:
            raise InvalidFieldError(field, f"ends within element {index} of BYTES")
        try:
            elements[index] = element.decode() if text else element
        except UnicodeDecodeError as error:
            raise InvalidFieldError(field, f"has element {index}, which is not UTF-8") from error
    if at != len(data):
        raise InvalidFieldError(field, f"has {len(data) - at:,} bytes after the last element")
    return elements


def arrays_to_tensors(arrays: Mapping[str, Any]) -> Tensors:
    """Return arrays, or what numpy makes arrays of, as tensors."""
    return Tensors(tensors=[array_to_tensor(name, values) for name, values in arrays.items()])


def array_to_tensor(name: str, values: Any) -> Tensor:
    """Return an array, or what numpy makes one of, as a tensor.

    What has no datatype becomes BYTES: text as UTF-8, a datetime as MLflow's text for it, and
    everything else as MLflow's JSON of it.
    """
    array = np.asarray(values)
    if array.dtype.kind == "M":
        texts = [time.isoformat() for time in pd.DatetimeIndex(array.ravel())]
        array = np.array(texts, object).reshape(array.shape)
    datatype = datatype_of(array.dtype)
    if datatype == "BYTES":
        data = pack_bytes(map(_to_bytes, array.ravel().tolist()))
    else:
        data = np.ascontiguousarray(array, _DTYPES[datatype]).tobytes()
    return Tensor(name=name, datatype=datatype, shape=array.shape, data=data)


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the name of a numpy type; BYTES for whatever is not of a fixed size."""
    return _NAMES.get(dtype.newbyteorder("<"), "BYTES")


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, datetime):
        return value.isoformat().encode()
    return json.dumps(value, cls=NumpyEncoder, default=str).encode()


def tensors_by_name(tensors: Iterable[Tensor], field: str) -> dict[str, tuple[str, Tensor]]:
    """Return each tensor, with its path in the request, by its name."""
    found: dict[str, tuple[str, Tensor]] = {}
    for index, tensor in enumerate(tensors):
        path = f"{field}[{index}]"
        if tensor.name in found:
            raise InvalidFieldError(f"{path}.name", f"{tensor.name!r} is given twice")
        found[tensor.name] = (path, tensor)
    if not found:
        raise InvalidFieldError(field, "is empty")
    return found
