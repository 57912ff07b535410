"""Which faults of a database mean that it is away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun
from sqlalchemy import Connection

from mlflow_grpc_server.exceptions import StoreUnavailableError
from mlflow_grpc_server.ingest.entries import Entries
from mlflow_grpc_server.tracking.bulk import BulkWriter
from mlflow_grpc_server.tracking.bulk_sql import BulkInsert

RUN_ID = "a" * 32


class BrokenInserter:
    """Fails as a driver does that has no more than its general class for the fault."""

    def __init__(self, lost: bool) -> None:
        self._lost = lost

    def insert(self, _: Connection, into: BulkInsert, rows: Sequence[tuple[Any, ...]]) -> int:
        raise sqlalchemy.exc.DatabaseError(
            into.head, rows, Exception(), connection_invalidated=self._lost
        )


@pytest.mark.parametrize(
    ("lost", "error"), [(True, StoreUnavailableError), (False, sqlalchemy.exc.DatabaseError)]
)
def test_a_connection_lost_in_mid_answer(
    tmp_path: Path, lost: bool, error: type[Exception]
) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/runs.db")
    for table in (SqlExperiment, SqlRun):
        table.__table__.create(engine)
    with engine.begin() as connection:
        run = {"run_uuid": RUN_ID, "lifecycle_stage": "active", "experiment_id": 0}
        connection.execute(sqlalchemy.insert(SqlRun).values(**run))
    entries = Entries(RUN_ID, [("loss", 0.5, 1, 1, False, RUN_ID)])
    with pytest.raises(error):
        BulkWriter(engine, BrokenInserter(lost)).write([entries])
    engine.dispose()
