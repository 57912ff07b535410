"""Several questions to a model as one: pure functions, in the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlflow_grpc_server.serving.payloads import Question

__all__ = ["joined", "split"]


def joined(questions: Sequence[Question]) -> Any:
    """Return the rows of all questions as one input; None if they do not go together."""
    if any(question.params for question in questions):
        return None
    data = [question.data for question in questions]
    if _are_frames(data):
        return pd.concat(data, ignore_index=True)
    return np.concatenate(data) if _are_arrays(data) else None


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
