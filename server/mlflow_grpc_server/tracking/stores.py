"""Opens the MLflow client over the stores that the settings name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import requests
import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.db.utils import _safe_initialize_tables
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service.client import TrackingServiceClient
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from mlflow_grpc_server.tracking.metric_store import MetricStore, open_metric_store
from mlflow_grpc_server.tracking.sql_store import SqlStore
from mlflow_grpc_server.tracking.sqlite import set_up_connections
from mlflow_grpc_server.tracking.uris import (
    StoreUriError,
    check_store,
    is_http,
    redact,
    without_secrets,
)

__all__ = ["Stores", "open_stores"]

_PROBE_SECONDS = 5


@dataclass(frozen=True)
class Stores:
    """An MLflow client, what reads and writes around it, and a probe for each store.

    A probe returns when its store answers and raises when it does not.
    """

    client: MlflowClient
    metrics: MetricStore
    probe_tracking: Callable[[], None]
    probe_registry: Callable[[], None]
    probe_artifacts: Callable[[], None]
    close: Callable[[], None]


class _OneStoreTrackingClient(TrackingServiceClient):
    """MLflow's tracking client over a store that was made for it.

    MLflow looks stores up in a process-wide registry, which knows no artifact root.
    """

    def __init__(self, tracking_uri: str, store: AbstractStore) -> None:
        self._store = store
        super().__init__(tracking_uri)

    @property
    def store(self) -> AbstractStore:
        return self._store


def open_stores(
    tracking_uri: str, registry_uri: str, artifact_root: str, artifacts_destination: str
) -> Stores:
    """Open the stores, creating or completing an empty database.

    Raises StoreUriError, without any secret in it, for a store that cannot be used.
    """
    _limit_rest_retries()
    for uri in dict.fromkeys((tracking_uri, registry_uri)):
        check_store(uri)
    try:
        client, engines = _open_client(tracking_uri, registry_uri, artifact_root)
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
        raise StoreUriError(
            f"cannot use {redact(tracking_uri)!r}: {without_secrets(str(error), tracking_uri)}"
        ) from error

    metrics = open_metric_store(tracking_uri, client)

    def close() -> None:
        metrics.close()
        for engine in engines:
            engine.dispose()

    return Stores(
        client=client,
        metrics=metrics,
        probe_tracking=_probe(tracking_uri, client._tracking_client.store, "experiments"),
        probe_registry=_probe(
            registry_uri, client._get_registry_client().store, "registered_models"
        ),
        probe_artifacts=_artifact_probe(artifacts_destination),
        close=close,
    )


def _limit_rest_retries() -> None:
    """Make MLflow's REST client give up in seconds rather than minutes.

    A thread of the pool is bound meanwhile, and the caller can retry by itself.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")


def _open_client(
    tracking_uri: str, registry_uri: str, artifact_root: str
) -> tuple[MlflowClient, list[sqlalchemy.Engine]]:
    # MLflow's registry resolves `models:/m-...` sources through the process's tracking URI.
    mlflow.set_tracking_uri(tracking_uri)
    engines: list[sqlalchemy.Engine] = []
    if is_http(tracking_uri):
        client = MlflowClient(tracking_uri, registry_uri)
    else:
        # Before MlflowClient, which would give experiment 0 an artifact root of its own.
        store = _open_sql_store(tracking_uri, artifact_root)
        client = MlflowClient(tracking_uri, registry_uri)
        client._tracking_client = _OneStoreTrackingClient(tracking_uri, store)
        engines.append(store.engine)
    registry_store = client._get_registry_client().store
    if not is_http(registry_uri):
        engines.append(set_up_connections(registry_store).engine)
    return client, engines


def _open_sql_store(tracking_uri: str, artifact_root: str) -> SqlAlchemyStore:
    # Under MLflow's own lock, so that replicas that start together create the tables once.
    _safe_initialize_tables(SqlAlchemyStore._get_or_create_engine(tracking_uri))
    return set_up_connections(SqlStore(tracking_uri, artifact_root))


def _probe(uri: str, store: object, table: str) -> Callable[[], None]:
    if is_http(uri):
        return lambda: requests.get(
            uri.rstrip("/") + "/health", timeout=_PROBE_SECONDS
        ).raise_for_status()
    engine: sqlalchemy.Engine = store.engine  # type: ignore[attr-defined]
    statement = sqlalchemy.text(f"SELECT 1 FROM {table} LIMIT 1")
    file = Path(engine.url.database or "") if engine.dialect.name == "sqlite" else None

    def select_one() -> None:
        # An open connection still reads a SQLite file that is gone, and a new one makes it anew.
        if file is not None and not file.is_file():
            raise FileNotFoundError(file)
        with engine.connect() as connection:
            connection.execute(statement)

    return select_one


def _artifact_probe(destination: str) -> Callable[[], None]:
    if not is_local_uri(destination):
        # A folder that is not there: its listing is short whatever the store holds.
        return lambda: get_artifact_repository(destination).list_artifacts("mlflow-grpc-probe")

    def check_folder() -> None:
        local = urlsplit(destination).scheme == "file"
        folder = Path(local_file_uri_to_path(destination) if local else destination).absolute()
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"cannot write to {folder}")

    return check_folder
