"""Tensors as they cross the wire. Importing this needs no numpy."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from mlflow_grpc.v1.model_serving_service_pb2 import Tensor

__all__ = ["DATATYPES", "LENGTH", "array_to_tensor", "pack_bytes", "tensor_to_array"]

DATATYPES: Mapping[str, str] = MappingProxyType(
    {
        "BOOL": "?",
        "INT8": "<i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "UINT8": "<u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
    }
)
"""The datatypes of a fixed size, with numpy's code for each."""

LENGTH = struct.Struct("<I")
"""What stands before each element of BYTES."""


def pack_bytes(elements: Iterable[bytes]) -> bytes:
    """The data of a tensor of BYTES."""
    return b"".join(LENGTH.pack(len(element)) + element for element in elements)


def _unpack_bytes(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (length,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size + length
        yield data[at - length : at]


def array_to_tensor(name: str, array: Any) -> Tensor:
    """A numpy array as a tensor; one of text, bytes or datetime64 (as ISO 8601) as BYTES.

    Raises `TypeError` for an array of anything else that has no datatype.
    """
    import numpy as np

    dtype = array.dtype.newbyteorder("<")
    for datatype, code in DATATYPES.items():
        if dtype == np.dtype(code):
            data = np.ascontiguousarray(array, dtype).tobytes()
            return Tensor(name=name, datatype=datatype, shape=array.shape, data=data)
    if dtype.kind == "M":
        array = array.astype(str)
    data = pack_bytes(map(_to_bytes, array.ravel().tolist()))
    return Tensor(name=name, datatype="BYTES", shape=array.shape, data=data)


def _to_bytes(element: Any) -> bytes:
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, bytes):
        return element
    raise TypeError(f"an array to predict from cannot hold {type(element).__name__}")


def tensor_to_array(tensor: Tensor) -> Any:
    """A tensor as a numpy array of its own; BYTES as text where it is UTF-8, else as bytes."""
    import numpy as np

    if tensor.datatype != "BYTES":
        flat = np.frombuffer(tensor.data, np.dtype(DATATYPES[tensor.datatype]))
        return flat.reshape(tuple(tensor.shape)).copy()
    elements = list(_unpack_bytes(tensor.data))
    array = np.empty(len(elements), dtype=object)
    try:
        array[:] = [element.decode() for element in elements]
    except UnicodeDecodeError:
        array[:] = elements
    return array.reshape(tuple(tensor.shape))
