"""Generated stubs of mlflow_grpc_server.inference."""
