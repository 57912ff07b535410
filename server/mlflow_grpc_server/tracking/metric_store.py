"""What writes and reads points: in bulk on databases that allow it, else through MlflowClient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy
from mlflow import MlflowClient
from mlflow.store.db.utils import create_sqlalchemy_engine
from sqlalchemy import Engine

from mlflow_grpc_server.ingest.entries import Writer
from mlflow_grpc_server.tracking.bulk import BulkWriter
from mlflow_grpc_server.tracking.bulk_sql import inserter
from mlflow_grpc_server.tracking.client_writer import ClientWriter
from mlflow_grpc_server.tracking.commits import CommitLog, commit_log
from mlflow_grpc_server.tracking.history import ClientHistory, MetricHistory, SqlHistory
from mlflow_grpc_server.tracking.sqlite import set_up_engine
from mlflow_grpc_server.tracking.uris import is_http

__all__ = ["MetricStore", "open_metric_store"]

# SQLite has one writer at a time; a server database and an MLflow server take several.
_WRITERS = 4


@dataclass(frozen=True)
class MetricStore:
    """What writes and reads the points of runs."""

    writer: Writer
    writers: int
    """How many threads may use the writer at a time."""
    history: MetricHistory
    commits: CommitLog | None
    """None where the store keeps no order of commits."""
    close: Callable[[], None]


def open_metric_store(tracking_uri: str, client: MlflowClient) -> MetricStore:
    """Open what `tracking_uri` allows, over a store that `client` has opened already."""
    dialect = "" if is_http(tracking_uri) else sqlalchemy.make_url(tracking_uri).get_backend_name()
    inserts = inserter(dialect)
    if inserts is None:
        return MetricStore(
            ClientWriter(client), _WRITERS, ClientHistory(client), None, close=lambda: None
        )
    # Apart from MLflow's engine, so that its sessions and these do not wait for each other.
    engine: Engine = create_sqlalchemy_engine(tracking_uri)
    set_up_engine(engine)
    return MetricStore(
        BulkWriter(engine, inserts),
        1 if dialect == "sqlite" else _WRITERS,
        SqlHistory(engine, client),
        commit_log(engine),
        close=engine.dispose,
    )
