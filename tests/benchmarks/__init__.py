"""Compare this server with MLflow's REST server and the in-process client.

Run it with `python -m tests.benchmarks`, or for a few seconds with `--quick`.
"""
