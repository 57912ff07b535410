"""The client is light: it brings neither MLflow nor numpy."""

from __future__ import annotations

import subprocess
import sys

LOAD_ALL = """
import importlib, pkgutil, sys
import mlflow_grpc
for module in pkgutil.walk_packages(mlflow_grpc.__path__, "mlflow_grpc."):
    importlib.import_module(module.name)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_nothing_of_mlflow_or_numpy_is_imported() -> None:
    loaded = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD_ALL],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "mlflow_grpc" in loaded
    assert not {"mlflow", "numpy", "pandas", "mlflow_grpc_server"} & set(loaded)
