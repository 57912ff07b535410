"""Data as datasets that describe it. None of the libraries that made it is needed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from mlflow_grpc._entities import Dataset, DatasetInput
from mlflow_grpc._environment import source_tags

__all__ = ["CONTEXT_TAG", "dataset_input"]

CONTEXT_TAG = "mlflow.data.context"

_READ_BYTES = 2**20
_DIGEST_LENGTH = 8
# MLflow looks at no more; the length of the data is in the digest too.
_DIGEST_ROWS = 10_000


def dataset_input(
    data: Any, context: str | None, name: str | None, source: str | None, tags: Mapping[str, str]
) -> DatasetInput:
    """A dataset in its role.

    `data` is a `Dataset`, one of `mlflow.data`, a data frame, an array, or the path of a file.
    Raises `TypeError` for anything else.
    """
    chosen = dict(tags)
    if context is not None:
        chosen[CONTEXT_TAG] = context
    return DatasetInput(_dataset(data, name, source), chosen)


def _dataset(data: Any, name: str | None, source: str | None) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if isinstance(data, (str, os.PathLike)):
        return _of_file(Path(data), name, source)
    if hasattr(data, "to_dict") and hasattr(data, "digest") and hasattr(data, "source"):
        return _of_mlflow(data, name)
    if hasattr(data, "dtypes") and hasattr(data, "columns"):
        return _of_frame(data, name, source)
    if hasattr(data, "dtype") and hasattr(data, "shape") and hasattr(data, "tobytes"):
        return _of_array(data, name, source)
    raise TypeError(f"{type(data).__name__} is no dataset, data frame, array or path")


def _of_file(path: Path, name: str | None, source: str | None) -> Dataset:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
    return _described(
        name or path.name,
        digest.hexdigest(),
        ("local", json.dumps({"uri": str(path.absolute())})) if source is None else _at(source),
        {},
        {"bytes": path.stat().st_size},
    )


def _of_mlflow(data: Any, name: str | None) -> Dataset:
    parts: Mapping[str, Any] = data.to_dict()
    return Dataset(
        name or parts["name"],
        parts["digest"],
        parts["source_type"],
        parts["source"],
        parts.get("schema") or "",
        parts.get("profile") or "",
    )


def _of_frame(frame: Any, name: str | None, source: str | None) -> Dataset:
    return _described(
        name or "dataset",
        _frame_digest(frame),
        _at(source),
        _frame_schema(frame),
        {"num_rows": len(frame), "num_elements": int(frame.size)},
    )


def _frame_digest(frame: Any) -> str:
    """What MLflow makes of the same frame, so that both name one dataset."""
    import numpy
    import pandas

    first = frame.head(_DIGEST_ROWS)
    texts = [
        column
        for index, column in enumerate(first.columns)
        if all(isinstance(value, str) for value in first.iloc[:, index])
    ]
    numbers = first.select_dtypes(include=[numpy.number]).columns
    hashed = pandas.util.hash_pandas_object(first[pandas.Index(texts).union(numbers)])
    columns = (str(column).encode() for column in frame.columns)
    return _md5(hashed.to_numpy(), numpy.int64(len(frame)), *columns)


def _frame_schema(frame: Any) -> Mapping[str, Any]:
    """MLflow's schema of the columns; none if there is a column that it has no simple type for."""
    columns = []
    for index, label in enumerate(frame.columns):
        column = frame.iloc[:, index]
        kind = _column_type(column)
        if kind is None:
            return {}
        name = label if isinstance(label, (str, int)) else str(label)
        columns.append({"type": kind, "name": name, "required": not column.isna().any()})
    return {"mlflow_colspec": columns}


def _of_array(array: Any, name: str | None, source: str | None) -> Dataset:
    spec = {
        "type": "tensor",
        "tensor-spec": {"dtype": _tensor_type(array.dtype), "shape": [-1, *array.shape[1:]]},
    }
    schema = {"mlflow_tensorspec": {"features": json.dumps([spec]), "targets": None}}
    return _described(
        name or "dataset",
        _array_digest(array),
        _at(source),
        schema if array.ndim else {},
        {
            "features_shape": list(array.shape),
            "features_size": int(array.size),
            "features_nbytes": int(array.nbytes),
        },
    )


def _array_digest(array: Any) -> str:
    """What MLflow makes of the same array, which takes pandas, as MLflow itself does."""
    import numpy

    shape = [numpy.int64(length) for length in array.shape]
    try:
        import pandas
    except ImportError:
        return _md5(str(array.dtype).encode(), *shape, array.tobytes())
    first = array.flatten()[:_DIGEST_ROWS]
    try:
        hashed = pandas.util.hash_array(first)
    except TypeError:
        # Objects that cannot be hashed.
        hashed = numpy.int64(first.size)
    return _md5(hashed, *shape)


def _md5(*elements: Any) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for element in elements:
        digest.update(element)
    return digest.hexdigest()


def _described(
    name: str,
    digest: str,
    place: tuple[str, str],
    schema: Mapping[str, Any],
    profile: Mapping[str, Any],
) -> Dataset:
    source_type, source = place
    return Dataset(
        name,
        digest[:_DIGEST_LENGTH],
        source_type,
        source,
        json.dumps(schema) if schema else "",
        json.dumps(profile),
    )


def _at(source: str | None) -> tuple[str, str]:
    """The type and text of a source: a URI or path, or the code that runs."""
    if source is None:
        return "code", json.dumps({"tags": source_tags()})
    scheme = source.partition("://")[0] if "://" in source else "file"
    if scheme in ("http", "https"):
        return "http", json.dumps({"url": source})
    return "local" if scheme == "file" else scheme, json.dumps({"uri": source})


def _column_type(column: Any) -> str | None:
    """MLflow's name of the type of a column."""
    kind, size = column.dtype.kind, getattr(column.dtype, "itemsize", 0)
    if kind in "iu":
        # The unsigned need a bit more, and the largest have no type.
        bits = size * 8 + (kind == "u")
        return "integer" if bits <= 32 else "long" if bits <= 64 else None
    if kind == "f":
        return "float" if size <= 4 else "double"
    if kind in "bMU":
        return {"b": "boolean", "M": "datetime", "U": "string"}[kind]
    if not len(column):
        return "string"
    found = tuple({type(value) for value in column[column.notna()]})
    return {(): "any", (str,): "string", (bytes,): "binary", (date,): "datetime"}.get(found)


def _tensor_type(dtype: Any) -> str:
    # Without the length, as the next batch may have longer texts.
    return {"U": "str", "S": "bytes"}.get(dtype.kind, str(dtype))
