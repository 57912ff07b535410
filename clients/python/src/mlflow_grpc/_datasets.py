"""Data as datasets that describe it. None of the libraries that made it is needed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_grpc._entities import Dataset, DatasetInput

__all__ = ["CONTEXT_TAG", "dataset_input"]

CONTEXT_TAG = "mlflow.data.context"

_READ_BYTES = 2**20
_DIGEST_LENGTH = 8


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
    import pandas

    hashed = pandas.util.hash_pandas_object(frame, index=False).to_numpy()
    digest = hashlib.sha256(json.dumps([str(column) for column in frame.columns]).encode())
    digest.update(hashed.tobytes())
    columns = [
        {"type": _mlflow_type(dtype), "name": str(column), "required": True}
        for column, dtype in zip(frame.columns, frame.dtypes, strict=True)
    ]
    return _described(
        name or "dataset",
        digest.hexdigest(),
        _at(source),
        {"mlflow_colspec": columns},
        {"num_rows": len(frame), "num_elements": int(frame.size)},
    )


def _of_array(array: Any, name: str | None, source: str | None) -> Dataset:
    digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    digest.update(array.tobytes())
    spec = {
        "type": "tensor",
        "tensor-spec": {"dtype": str(array.dtype), "shape": [-1, *array.shape[1:]]},
    }
    return _described(
        name or "dataset",
        digest.hexdigest(),
        _at(source),
        {"mlflow_tensorspec": {"features": json.dumps([spec]), "targets": None}},
        {"features_shape": list(array.shape), "features_nbytes": int(array.nbytes)},
    )


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
        return "code", json.dumps({"tags": {}})
    scheme = source.partition("://")[0] if "://" in source else "local"
    return scheme, json.dumps({"uri": source})


def _mlflow_type(dtype: Any) -> str:
    kind, size = getattr(dtype, "kind", "O"), getattr(dtype, "itemsize", 8)
    if kind in "iu":
        return "long" if size > 4 else "integer"
    if kind == "f":
        return "double" if size > 4 else "float"
    return {"b": "boolean", "M": "datetime"}.get(kind, "string")
