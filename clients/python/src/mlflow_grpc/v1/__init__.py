"""Generated stubs of mlflow_grpc.v1."""
