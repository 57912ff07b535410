# `make` or `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
CODEGEN := .venv-codegen
LOWEST := .venv-lowest
BIN := $(VENV)/bin
ARGS ?=
OWN := server/mlflow_grpc_server clients/python/src/mlflow_grpc
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow test-lowest demo bench check fix protos lock clean clean-data

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

$(VENV)/.stamp: pyproject.toml clients/python/pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e 'clients/python[cli]' -e '.[dev,postgres,mysql,s3]'
	@touch $@

$(CODEGEN)/.stamp: protos/requirements-codegen.txt
	$(PYTHON) -m venv $(CODEGEN)
	$(CODEGEN)/bin/pip install --quiet -r protos/requirements-codegen.txt
	@touch $@

$(LOWEST)/.stamp: clients/python/pyproject.toml clients/python/lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet -r clients/python/lowest.txt -e clients/python
	@touch $@

setup: $(VENV)/.stamp ## Make the virtual environment

run: $(VENV)/.stamp ## Start the server on 127.0.0.1:50051 over SQLite (ARGS='--port 0 ...')
	$(BIN)/mlflow-grpc-server $(ARGS)

test: $(VENV)/.stamp ## Run the tests (ARGS='-k name ...')
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/python -m pytest -m 'not slow' -n 3 --dist loadfile $(ARGS)

test-slow: $(VENV)/.stamp ## Run the long fault and load tests
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/python -m pytest -m slow --timeout 900 $(ARGS)

test-lowest: $(LOWEST)/.stamp ## Test the client with the oldest dependencies it allows
	$(LOWEST)/bin/python -m pytest tests/unit/client $(ARGS)

demo: $(VENV)/.stamp ## Train a model, log it through the client, read it back with MLflow, serve it
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/python -m tests.demo

bench: $(VENV)/.stamp ## Compare with MLflow's REST server and the in-process client
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/python -m tests.benchmarks $(ARGS)

check: $(VENV)/.stamp $(CODEGEN)/.stamp ## Check style, types, protos and generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(OWN)
	$(CODEGEN)/bin/python protos/build.py check
	$(CODEGEN)/bin/python protos/build.py lint
	$(CODEGEN)/bin/python protos/build.py breaking

fix: $(VENV)/.stamp protos ## Mend style and generated code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: $(CODEGEN)/.stamp ## Generate the stubs from the protos
	$(CODEGEN)/bin/python protos/build.py generate

lock: ## Choose the versions in constraints.txt anew
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet uv==0.13.9
	.venv-lock/bin/uv pip compile --universal --python-version 3.10 --upgrade --no-header \
	    --no-annotate --no-emit-index-url --no-emit-find-links --all-extras --no-emit-package mlflow-grpc \
	    --quiet pyproject.toml clients/python/pyproject.toml -o constraints.txt

clean: ## Remove environments, caches and build output; never data
	rm -rf $(VENV) $(CODEGEN) $(LOWEST) .venv-lock .pytest_cache .mypy_cache .ruff_cache \
	    .hypothesis .bench build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-data: ## Remove the default database and artifacts
	rm -rf mlflow.db mlflow.db-shm mlflow.db-wal mlartifacts
