"""Models that the tests deploy: logged by MLflow itself, into a server's own stores."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

COLUMNS = ["sepal length", "sepal width", "petal length", "petal width"]


_ORDERS = ModelSignature(Schema([ColSpec(DataType.string, "order")]))


class Misbehaving(PythonModel):
    """Does what its one input says, and otherwise answers with its process and its version."""

    def __init__(self, version: str = "") -> None:
        self.version = version

    def load_context(self, context: Any) -> None:
        if Path(os.environ.get("UNLOADABLE_WITH", "")).is_file():
            raise RuntimeError("what loading says")
        if "LOAD_WITH" in os.environ:
            Path(os.environ["LOAD_WITH"]).with_suffix(".loading").touch()
            while not Path(os.environ["LOAD_WITH"]).exists():
                time.sleep(0.01)

    def predict(self, context, model_input, params=None):
        order, _, argument = str(model_input["order"].iloc[0]).partition(" ")
        if order == "raise":
            raise KeyError("what the model says")
        if order == "exit":
            print("about to exit")
            os._exit(int(argument))
        if order == "sleep":
            time.sleep(float(argument))
        if order == "wait":
            _wait(Path(argument))
        if order == "hang-up":
            threading.Thread(target=time.sleep, args=(3600,)).start()
            os.closerange(3, 256)
        if order == "allocate":
            hoard = np.ones(int(argument) * 2**17)
            return [str(hoard.nbytes)]
        if order == "big":
            return ["x" * (int(argument) * 2**20)]
        if order == "environment":
            return [os.environ.get(argument, "")]
        if order == "stop-me":
            os.kill(os.getpid(), 9)
        return [f"{self.version} {os.getpid()}"]

    def predict_stream(self, context, model_input, params=None):
        order, _, argument = model_input["order"].partition(" ")
        if order == "wait":
            _wait(Path(argument))
            argument = "1"
        if order == "touch":
            for index in range(1_000_000):
                Path(argument).write_text(str(index))
                yield index
        for index in range(int(argument)):
            yield {"index": index, "pid": os.getpid()}
        if order == "raise":
            raise KeyError("what the stream says")


def _wait(flag: Path) -> None:
    """Who asks again, because the first replica was lost, has an answer at once."""
    if not flag.exists():
        flag.touch()
        while flag.exists():
            time.sleep(0.01)


class Unloadable(PythonModel):
    """Cannot be loaded."""

    def load_context(self, context: Any) -> None:
        print("about to fail to load")
        raise RuntimeError("what loading says")

    def predict(self, context, model_input):
        return model_input


class Scaling(PythonModel):
    """Multiplies by a param."""

    def predict(self, context, model_input, params=None):
        return model_input * (params or {}).get("factor", 1)


class Telling(PythonModel):
    """Tells what it is given: of a data frame each column, with its type and its values."""

    def predict(self, context, model_input, params=None):
        if not isinstance(model_input, pd.DataFrame):
            return [repr(model_input)]
        return [f"{name}: {column.dtype} {column.tolist()}" for name, column in model_input.items()]

    def predict_stream(self, context, model_input, params=None):
        yield from self.predict(context, pd.DataFrame([model_input]))


def train_forest(trees: int = 10, *, columns: bool = True) -> tuple[Any, Any]:
    """Train on the irises, with named columns or without; returns the model and the inputs."""
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    data, target = load_iris(return_X_y=True)
    inputs = pd.DataFrame(data, columns=COLUMNS) if columns else data
    return RandomForestClassifier(trees, random_state=0).fit(inputs, target), inputs


class Log:
    """Logs models through MLflow into a database and an artifact folder, and registers them."""

    def __init__(self, store: str, artifacts: Path) -> None:
        self._client = MlflowClient(store, store)
        self._store = store
        self._artifacts = artifacts
        # The workers do not find this module.
        cloudpickle.register_pickle_by_value(sys.modules[__name__])

    def register(self, name: str, flavor: Any, **model: Any) -> str:
        """Log a model with a flavor's `save_model`, as a run's artifacts; returns its version."""
        run_id = self.log(flavor, **model)
        return self.register_run(name, run_id)

    def log(self, flavor: Any, **model: Any) -> str:
        """Save a model where the server keeps the artifacts of a new run; returns the run's id."""
        run = self._client.create_run("0")
        place = run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
        place = place.removeprefix(self._artifacts.as_uri()).lstrip("/")
        # Requirements that are given are not inferred, which takes seconds.
        path = str(self._artifacts / place / "model")
        flavor.save_model(path=path, pip_requirements=["mlflow"], **model)
        self._client.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def register_run(self, name: str, run_id: str) -> str:
        """Register the model of a run; returns the version."""
        run = self._client.get_run(run_id)
        with suppress(mlflow.MlflowException):
            self._client.create_registered_model(name)
        source = f"{run.info.artifact_uri}/model"
        return str(self._client.create_model_version(name, source, run_id).version)

    def alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        self._client.set_registered_model_alias(name, alias, version)

    def forest(self, name: str, *, columns: bool = True, trees: int = 10) -> str:
        """Register a random forest, with named columns or with one tensor as its signature."""
        model, inputs = train_forest(trees, columns=columns)
        return self.register(
            name,
            mlflow.sklearn,
            sk_model=model,
            signature=infer_signature(inputs, model.predict(inputs)),
            serialization_format="cloudpickle",
        )

    def tensor_forest(self, name: str) -> str:
        """Register a random forest that takes one tensor."""
        return self.forest(name, columns=False)

    def misbehaving(self, name: str, version: str = "") -> str:
        """Register a model that does what it is told."""
        return self.register(
            name, mlflow.pyfunc, python_model=Misbehaving(version), signature=_ORDERS
        )

    def log_misbehaving(self) -> str:
        """Log a model that does what it is told; returns the run."""
        return self.log(mlflow.pyfunc, python_model=Misbehaving(), signature=_ORDERS)

    def unloadable(self, name: str) -> str:
        """Register a model that cannot be loaded."""
        return self.register(name, mlflow.pyfunc, python_model=Unloadable())

    def scaling(self, name: str) -> str:
        """Register a model of integers with a param."""
        signature = ModelSignature(
            Schema([ColSpec(DataType.long, "n")]),
            Schema([ColSpec(DataType.long, "n")]),
            ParamSchema([ParamSpec("factor", DataType.long, 1)]),
        )
        return self.register(name, mlflow.pyfunc, python_model=Scaling(), signature=signature)

    def telling(self, name: str) -> str:
        """Register a model without a signature that tells what it is given."""
        return self.register(name, mlflow.pyfunc, python_model=Telling())

    def telling_times(self, name: str) -> str:
        """Register a model with a column of datetimes that tells what it is given."""
        columns = [ColSpec(DataType.datetime, "at"), ColSpec(DataType.string, "what")]
        signature = ModelSignature(Schema(columns))
        return self.register(name, mlflow.pyfunc, python_model=Telling(), signature=signature)
