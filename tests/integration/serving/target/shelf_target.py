"""An mlflow.deployments plugin for the tests: it keeps deployments on a shelf, a JSON file.

Registered as an entry point by the folder `shelf_target-1.0.dist-info` beside it.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow.pyfunc
from mlflow.deployments import BaseDeploymentClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST


class ShelfClient(BaseDeploymentClient):
    """Deployments in the file that the target's URI names: `shelf:/FILE?token=SECRET`.

    The environment of a deployment says what befalls it: `RAISE` an exception with that text,
    `REFUSE` an MlflowException with it and the URI, and `WAIT` for that file to be there. Its
    answers wait for the file `ANSWER`, and its streams, after the first item, for the file `STEP`;
    a stream that is closed writes its thread to the file `CLOSED`.
    """

    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)
        self._file = Path(urlsplit(target_uri).path)

    def _read(self) -> dict[str, Any]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def _write(self, name: str, model_uri: str, config: Any) -> dict[str, Any]:
        environment = (config or {}).get("environment", {})
        _wait(environment.get("WAIT"))
        if "RAISE" in environment:
            raise RuntimeError(environment["RAISE"])
        if "REFUSE" in environment:
            raise MlflowException(f"{environment['REFUSE']} at {self.target_uri}")
        mlflow.pyfunc.load_model(self._place(model_uri))
        entry = {"name": name, "model_uri": model_uri, "config": config}
        self._file.write_text(json.dumps({**self._read(), name: entry}))
        return entry

    def _place(self, model_uri: str) -> str:
        version = mlflow.MlflowClient().get_model_version(*model_uri.split("/")[1:])
        return version.source.replace("mlflow-artifacts:", str(self._file.parent / "mlartifacts"))

    def create_deployment(self, name, model_uri, flavor=None, config=None, endpoint=None):
        assert name not in self._read()
        return self._write(name, model_uri, config)

    def update_deployment(self, name, model_uri=None, flavor=None, config=None, endpoint=None):
        assert name in self._read()
        return self._write(name, model_uri, config)

    def delete_deployment(self, name, config=None, endpoint=None):
        kept = self._read()
        del kept[name]
        self._file.write_text(json.dumps(kept))

    def list_deployments(self, endpoint=None):
        return list(self._read().values())

    def get_deployment(self, name, endpoint=None):
        return self._find(name)

    def _find(self, name: str) -> dict[str, Any]:
        if name not in self._read():
            raise MlflowException("not on the shelf", RESOURCE_DOES_NOT_EXIST)
        return self._read()[name]

    def _environment(self, name: str) -> dict[str, str]:
        return (self._find(name)["config"] or {}).get("environment", {})

    def predict(self, deployment_name=None, inputs=None, endpoint=None):
        model = mlflow.pyfunc.load_model(self._place(self._find(deployment_name)["model_uri"]))
        return Answer(model.predict(inputs), self._environment(deployment_name).get("ANSWER"))

    def predict_stream(self, deployment_name=None, inputs=None, endpoint=None):
        environment = self._environment(deployment_name)
        answer = self.predict(deployment_name, inputs).get_predictions()
        return Items(answer.to_dict(orient="records"), environment)


class Items:
    """What is yielded: an iterator that has to be closed, as one over a connection has."""

    def __init__(self, items: list[Any], environment: dict[str, str]) -> None:
        self._items = iter(items)
        self._environment = environment
        self._is_first = True
        self._running = threading.Lock()

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> Any:
        with self._running:
            if not self._is_first:
                _wait(self._environment.get("STEP"))
            self._is_first = False
            for item in self._items:
                return item
        raise MlflowException("no more", INVALID_PARAMETER_VALUE)

    def close(self) -> None:
        if "CLOSED" in self._environment:
            how = "while it runs" if self._running.locked() else threading.current_thread().name
            Path(self._environment["CLOSED"]).write_text(how)


class Answer:
    """An answer that is ready when a file is there, as `PredictionsResponse` may be large."""

    def __init__(self, predictions: Any, file: str | None) -> None:
        self._predictions = predictions
        self._file = file

    def get_predictions(self) -> Any:
        _wait(self._file)
        return self._predictions


def _wait(file: str | None) -> None:
    if file is not None:
        Path(file).with_suffix(".waiting").touch()
        while not Path(file).exists():
            time.sleep(0.01)


def run_local(target, name, model_uri, flavor=None, config=None):
    """Part of what a plugin has to have."""


def target_help():
    """Part of what a plugin has to have."""
    return "shelf:/FILE"
