"""Several questions to a model as one: pure functions, in the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlflow_grpc_server.serving.payloads import Question

__all__ = ["joined", "rows_are_independent", "split"]

# Each tree is walked by each row, and the trees are added up row by row, in their order.
_ROW_BY_ROW = {
    "sklearn.ensemble._forest": (
        *("ExtraTreesClassifier", "ExtraTreesRegressor"),
        *("RandomForestClassifier", "RandomForestRegressor"),
    ),
    "sklearn.tree._classes": (
        *("DecisionTreeClassifier", "DecisionTreeRegressor"),
        *("ExtraTreeClassifier", "ExtraTreeRegressor"),
    ),
}


def rows_are_independent(model: Any) -> bool:
    """Tell whether a model is known to answer each row as if it were alone, to the bit.

    So are scikit-learn's trees and forests themselves; not what derives from them, and not
    linear models, whose sums depend on the shape of the input. Forests on several threads add
    their trees up in any order.
    """
    known = type(model).__name__ in _ROW_BY_ROW.get(type(model).__module__, ())
    return known and getattr(model, "n_jobs", None) in (None, 1)


def joined(questions: Sequence[Question], *, numbers_only: bool = False) -> Any:
    """Return the rows of all questions as one input; None if they do not go together.

    With `numbers_only`, columns of objects do not: what the schema makes of a value of theirs
    may depend on the other values.
    """
    if any(question.params for question in questions):
        return None
    data = [question.data for question in questions]
    if numbers_only and not all(map(_is_of_numbers, data)):
        return None
    if _are_frames(data):
        return pd.concat(data, ignore_index=True)
    return np.concatenate(data) if _are_arrays(data) else None


def _is_of_numbers(data: Any) -> bool:
    if isinstance(data, pd.DataFrame):
        plain = all(isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in data.dtypes)
        return plain and len(data) > 0
    return isinstance(data, np.ndarray) and data.dtype.kind in "biuf" and data.size > 0


def _are_frames(data: list[Any]) -> bool:
    return all(isinstance(one, pd.DataFrame) for one in data) and all(
        one.dtypes.equals(data[0].dtypes) for one in data
    )


def _are_arrays(data: list[Any]) -> bool:
    return all(isinstance(one, np.ndarray) and one.ndim for one in data) and all(
        (one.dtype, one.shape[1:]) == (data[0].dtype, data[0].shape[1:]) for one in data
    )


def split(predictions: Any, questions: Sequence[Question]) -> list[Any] | None:
    """Return the part of each question; None if there is not one prediction for each row."""
    counts = [len(question.data) for question in questions]
    if not isinstance(predictions, (np.ndarray, list, pd.DataFrame, pd.Series)):
        return None
    if len(predictions) != sum(counts):
        return None
    parts, at = [], 0
    for count in counts:
        if isinstance(predictions, (pd.DataFrame, pd.Series)):
            parts.append(predictions.iloc[at : at + count].reset_index(drop=True))
        else:
            parts.append(predictions[at : at + count])
        at += count
    return parts
