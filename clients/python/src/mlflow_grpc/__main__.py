"""The command `python -m mlflow_grpc`."""

import sys

from mlflow_grpc._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
