"""Train a model, log it through the client, read it back, and serve it: `make demo`."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_grpc import ActiveRun, Client, Dataset, DatasetInput, Metric
from tests.demo_serving import deploy_and_predict

EXPERIMENT = "digits-demo"
MODEL = "digits-classifier"
ALIAS = "champion"
STAGE = "Staging"
EPOCHS = 10
BATCH = 64
SEED = 7
PARAMS = {"hidden_layer_sizes": (64,), "learning_rate_init": 0.005, "alpha": 0.0001}
TAGS = {"team": "demo", "framework": "scikit-learn"}
_LISTENING = re.compile(r"^mlflow-grpc-server \S+ listening on (127\.0\.0\.1:\d+)$")
_STOP_SECONDS = 60


@dataclass(frozen=True)
class Logged:
    """What went in through the client."""

    run_id: str
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Metric]
    dataset: Dataset
    files: dict[str, str]
    """The SHA-256 of each file by its path among the artifacts."""
    version: str
    model: Any


@dataclass
class Comparison:
    """What was compared, and where the two sides differ."""

    compared: int = 0
    differences: list[str] = field(default_factory=list)

    def check(self, what: str, logged: object, stored: object) -> None:
        """Count one value, and note it if MLflow has another one."""
        self.compared += 1
        if logged != stored:
            self.differences.append(f"{what}: logged {logged!r}, MLflow has {stored!r}")


@contextmanager
def serve(folder: Path, store: str) -> Iterator[str]:
    """Run a server in `folder` on a port of the kernel's choice; yields its address."""
    command = [sys.executable, "-m", "mlflow_grpc_server.cli", "--host", "127.0.0.1"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--port", "0", "--backend-store-uri", store],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    with server:
        try:
            yield read_address(server, folder / "log")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(_STOP_SECONDS)


def read_address(server: subprocess.Popen[str], log: Path) -> str:
    """Return the address that the server says it listens on."""
    assert server.stdout is not None
    for line in server.stdout:
        if found := _LISTENING.match(line.rstrip()):
            return found[1]
    raise SystemExit(f"the server did not start:\n{log.read_text()[-4000:]}")


def new_model() -> Any:
    """Return the model, untrained."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(**PARAMS, batch_size=BATCH, random_state=SEED)


def train(model: Any) -> Iterator[tuple[int, float, float]]:
    """Train on the digits; yields epoch, training loss and test accuracy."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        digits.data / 16, digits.target, random_state=SEED, stratify=digits.target
    )
    shuffle = np.random.default_rng(SEED)
    for epoch in range(1, EPOCHS + 1):
        order = shuffle.permutation(len(x_train))
        model.partial_fit(x_train[order], y_train[order], classes=np.unique(y_train))
        yield epoch, float(model.loss_), float(model.score(x_test, y_test))


def describe_dataset() -> Dataset:
    """Describe scikit-learn's digits."""
    from sklearn.datasets import load_digits

    digest = hashlib.sha256(load_digits().data.tobytes()).hexdigest()[:8]
    return Dataset("digits", digest, "code", "sklearn.datasets.load_digits")


def log_files(run: ActiveRun, model: Any, folder: Path) -> dict[str, str]:
    """Log a figure, a table and the model's files; returns the SHA-256 of each."""
    import mlflow.sklearn
    from matplotlib.figure import Figure
    from sklearn.datasets import load_digits
    from sklearn.metrics import ConfusionMatrixDisplay

    digits = load_digits()
    figure = Figure(figsize=(6, 6))
    ConfusionMatrixDisplay.from_predictions(
        digits.target, model.predict(digits.data / 16), ax=figure.subplots(), colorbar=False
    )
    table = folder / "predictions.csv"
    rows = zip(digits.target, model.predict(digits.data / 16), strict=True)
    table.write_text("digit,predicted\n" + "".join(f"{a},{b}\n" for a, b in rows))
    mlflow.sklearn.save_model(
        model,
        folder / "model",
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )
    logged = [
        run.log_figure(figure, "figures/confusion-matrix.png"),
        run.log_artifact(table, "tables"),
        *run.log_artifacts(folder / "model", "model"),
    ]
    return {file.path: file.sha256 for file in logged}


def log_training(client: Client, folder: Path) -> Logged:
    """Train and log everything through the client; returns what was logged."""
    points: list[Metric] = []
    dataset = describe_dataset()
    model = new_model()
    params = {**PARAMS, "epochs": EPOCHS, "batch_size": BATCH}
    with client.start_run(
        experiment_name=EXPERIMENT, run_name="mlp", capture_environment=True
    ) as run:
        run.log_params(params)
        run.set_tags(TAGS)
        run.log_inputs([DatasetInput(dataset, {"mlflow.data.context": "training"})])
        for epoch, loss, accuracy in train(model):
            now = _now_ms()
            measured = [
                Metric("train_loss", loss, now, epoch),
                Metric("test_accuracy", accuracy, now, epoch),
            ]
            run.log_metrics(measured)
            points += measured
            print(f"  epoch {epoch:2}  train loss {loss:.4f}  test accuracy {accuracy:.4f}")
        files = log_files(run, model, folder)
    return Logged(
        run_id=run.run_id,
        params={key: str(value) for key, value in params.items()},
        tags=TAGS,
        points=points,
        dataset=dataset,
        files=files,
        version=register(client, run.run_id),
        model=model,
    )


def register(client: Client, run_id: str) -> str:
    """Register the run's model, stage it and give it an alias; returns the version."""
    version = client.register_model(MODEL, f"runs:/{run_id}/model").version
    client.transition_model_version_stage(MODEL, version, STAGE)
    client.set_registered_model_alias(MODEL, ALIAS, version)
    return version


def compare(logged: Logged, store: str, client: Client, folder: Path) -> Comparison:
    """Read everything back with MLflow itself, from the database, and compare.

    Files are read back through the client, and in the folder where MLflow would open them.
    """
    from mlflow import MlflowClient

    mlflow = MlflowClient(store, store)
    comparison = Comparison()
    compare_run(logged, mlflow, comparison)
    compare_history(logged, mlflow, comparison)
    compare_version(logged, mlflow, comparison)
    compare_files(logged, mlflow, client, folder, comparison)
    return comparison


def compare_files(
    logged: Logged, mlflow: Any, client: Client, folder: Path, comparison: Comparison
) -> None:
    """Compare each file, downloaded and where it is kept, and what the model says."""
    import mlflow.sklearn as mlflow_sklearn
    from sklearn.datasets import load_digits

    got = Path(client.download_artifacts(logged.run_id, "", folder / "downloaded"))
    location = mlflow.get_run(logged.run_id).info.artifact_uri
    kept = folder / "mlartifacts" / location.removeprefix("mlflow-artifacts:/")
    for path, sha256 in sorted(logged.files.items()):
        for place in (got, kept):
            comparison.check(f"SHA-256 of {path}", sha256, digest(place / path))
    model = mlflow_sklearn.load_model(str(got / "model"))
    accuracy = model.score(load_digits().data / 16, load_digits().target)
    comparison.check("the model predicts digits", True, accuracy > 0.9)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def compare_run(logged: Logged, mlflow: Any, comparison: Comparison) -> None:
    """Compare status, experiment, params, tags and dataset."""
    stored = mlflow.get_run(logged.run_id)
    experiment = mlflow.get_experiment(stored.info.experiment_id)
    comparison.check("experiment", EXPERIMENT, experiment.name)
    comparison.check("status", "FINISHED", stored.info.status)
    comparison.check("run name", "mlp", stored.info.run_name)
    compare_maps("param", logged.params, stored.data.params, comparison)
    captured = ("mlflow.", "environment.")
    own_tags = {k: v for k, v in stored.data.tags.items() if not k.startswith(captured)}
    comparison.check("has a program", True, "mlflow.source.name" in stored.data.tags)
    compare_maps("tag", logged.tags, own_tags, comparison)
    datasets = [
        (d.dataset.name, d.dataset.digest, d.dataset.source_type, d.dataset.source)
        for d in stored.inputs.dataset_inputs
    ]
    ours = logged.dataset
    comparison.check(
        "datasets", [(ours.name, ours.digest, ours.source_type, ours.source)], datasets
    )


def compare_maps(
    what: str, logged: dict[str, str], stored: dict[str, str], comparison: Comparison
) -> None:
    """Compare each entry, also those that only one side has."""
    for key in sorted(logged.keys() | stored.keys()):
        comparison.check(f"{what} {key}", logged.get(key), stored.get(key))


def compare_history(logged: Logged, mlflow: Any, comparison: Comparison) -> None:
    """Compare every point of every metric."""
    keys = {point.key for point in logged.points}
    comparison.check("metric keys", keys, set(mlflow.get_run(logged.run_id).data.metrics))
    for key in sorted(keys):
        ours = sorted((p.step, p.timestamp, p.value) for p in logged.points if p.key == key)
        history = mlflow.get_metric_history(logged.run_id, key)
        theirs = sorted((p.step, p.timestamp, p.value) for p in history)
        comparison.check(f"number of points of {key}", len(ours), len(theirs))
        for our, their in zip(ours, theirs, strict=False):
            comparison.check(f"metric {key} (step, timestamp, value)", our, their)


def compare_version(logged: Logged, mlflow: Any, comparison: Comparison) -> None:
    """Compare the model version: source, run, stage and alias."""
    stored = mlflow.get_model_version(MODEL, logged.version)
    # As mlflow.register_model does, the server resolves `runs:/` to the run's artifacts.
    artifacts = mlflow.get_run(logged.run_id).info.artifact_uri
    comparison.check("version source", f"{artifacts}/model", stored.source)
    comparison.check("version run", logged.run_id, stored.run_id)
    comparison.check("version status", "READY", stored.status)
    comparison.check("version stage", STAGE, stored.current_stage)
    comparison.check("version aliases", [ALIAS], list(stored.aliases))
    aliased = mlflow.get_model_version_by_alias(MODEL, ALIAS)
    comparison.check("version of alias", logged.version, str(aliased.version))


def report(logged: Logged, comparison: Comparison) -> int:
    """Print the outcome; returns the exit code."""
    print(
        f"run {logged.run_id}: {len(logged.params)} params, {len(logged.tags)} tags, "
        f"{len(logged.points)} metric points, 1 dataset, "
        f"{len(logged.files)} files"
    )
    print(f"model {MODEL} version {logged.version}: stage {STAGE}, alias {ALIAS}")
    print(f"read back with MlflowClient: {comparison.compared} values compared")
    if comparison.differences:
        print("differ:", *comparison.differences, sep="\n  ")
        return 1
    print("agree")
    return 0


def main() -> int:
    """Run the demo; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="mlflow-grpc-demo-") as name:
        folder = Path(name)
        store = f"sqlite:///{folder / 'mlflow.db'}"
        with serve(folder, store) as address, Client(address) as client:
            print(f"server on {address}")
            logged = log_training(client, folder)
            comparison = compare(logged, store, client, folder)
            uri = f"models:/{MODEL}@{ALIAS}"
            for difference in deploy_and_predict(client, logged.model, uri):
                comparison.differences.append(f"served: {difference}")
            return report(logged, comparison)


def _now_ms() -> int:
    return time.time_ns() // 10**6


if __name__ == "__main__":
    sys.exit(main())
