"""SQLite files that have MLflow's tables already: making those takes a second each time."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["sqlite_uri"]


def sqlite_uri(folder: Path) -> str:
    """The URI of the database `mlflow.db` in a folder, which is made unless it is there."""
    place = folder / "mlflow.db"
    if not place.exists():
        place.write_bytes(_empty_database())
    return f"sqlite:///{place}"


@functools.cache
def _empty_database() -> bytes:
    """What MLflow makes of an empty file, before a server adds to it what is its own."""
    # Here: the client's own tests go without them.
    import sqlalchemy
    from mlflow.store.db.utils import _initialize_tables

    with TemporaryDirectory() as folder:
        place = Path(folder, "mlflow.db")
        engine = sqlalchemy.create_engine(f"sqlite:///{place}")
        with warnings.catch_warnings():
            # MLflow's own: SQLAlchemy blames whoever calls it.
            warnings.simplefilter("ignore", sqlalchemy.exc.SADeprecationWarning)
            _initialize_tables(engine)
        engine.dispose()
        return place.read_bytes()
