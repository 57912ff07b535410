"""Which models answer each row as if it were alone, and what of their input goes together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import ensemble, linear_model, tree

from mlflow_grpc_server.serving.batches import joined, rows_are_independent, split
from mlflow_grpc_server.serving.payloads import Question

FORESTS = (
    *(ensemble.RandomForestClassifier, ensemble.RandomForestRegressor),
    *(ensemble.ExtraTreesClassifier, ensemble.ExtraTreesRegressor),
)
TREES = (
    *(tree.DecisionTreeClassifier, tree.DecisionTreeRegressor),
    *(tree.ExtraTreeClassifier, tree.ExtraTreeRegressor),
)


class DerivedForest(ensemble.RandomForestClassifier):
    """One that may do anything with its rows."""


@pytest.mark.parametrize("kind", [*FORESTS, *TREES])
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_rows_that_go_together_have_the_answers_of_each_alone(kind: Any, method: str) -> None:
    random = np.random.default_rng(5)
    table = random.normal(size=(200, 7)) * 10.0 ** random.integers(-8, 8, size=(200, 7))
    labels = random.integers(0, 4, size=200)
    model = kind(random_state=1, **({"n_estimators": 13} if kind in FORESTS else {}))
    model.fit(table[:100], labels[:100] if "Classifier" in kind.__name__ else table[:100, :3])
    assert rows_are_independent(model)
    if not hasattr(model, method):
        return
    ask = getattr(model, method)
    questions = [Question(table[at : at + 1 + at % 3], None, "json") for at in range(0, 199, 2)]
    parts = split(ask(joined(questions, numbers_only=True)), questions)
    assert parts is not None
    for question, part in zip(questions, parts, strict=True):
        alone = ask(question.data)
        assert part.dtype == alone.dtype
        assert part.tobytes() == alone.tobytes()


@pytest.mark.parametrize(
    "model",
    [
        linear_model.LinearRegression(),
        linear_model.LogisticRegression(),
        DerivedForest(),
        ensemble.RandomForestRegressor(n_jobs=2),
        ensemble.GradientBoostingRegressor(),
        object(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_of_which_that_is_not_known_are_asked_call_by_call(model: Any) -> None:
    assert not rows_are_independent(model)


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame({"a": ["1"]}),
        pd.DataFrame({"a": pd.array([1], dtype="Int64")}),
        pd.DataFrame({"a": np.zeros(0)}),
        np.zeros((0, 2)),
        np.array([["a"]], dtype=object),
        {"a": np.zeros(1)},
    ],
)
def test_input_whose_meaning_may_depend_on_other_input_goes_alone(data: Any) -> None:
    assert joined([Question(data, None, "json")] * 2, numbers_only=True) is None
