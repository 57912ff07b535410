"""Store URIs: what they are, whether they answer, and how they may be shown."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
import sqlalchemy
from sqlalchemy.engine import make_url

__all__ = ["StoreUriError", "check_store", "is_http", "redact", "without_secrets"]

_DATABASES = ("sqlite", "postgresql", "mysql")
_SECRET_OPTION = re.compile(r"([^&=?]*(?:pass|pwd|secret|token|key)[^&=]*)=[^&]*", re.IGNORECASE)
_CONNECT_SECONDS = 10


class StoreUriError(Exception):
    """A store URI that cannot be used. The message holds no secret."""


def is_http(uri: str) -> bool:
    """Tell whether `uri` is that of an MLflow server rather than of a database."""
    return urlsplit(uri).scheme in ("http", "https")


def redact(uri: str) -> str:
    """Return `uri` with its password, and the values of secret-looking options, as `***`."""
    parts = urlsplit(uri)
    netloc = parts.netloc
    if "@" in netloc:
        user, _, host = netloc.rpartition("@")
        netloc = f"{user.split(':', 1)[0]}:***@{host}" if ":" in user else netloc
    query = _SECRET_OPTION.sub(r"\1=***", parts.query)
    if (netloc, query) == (parts.netloc, parts.query):
        return uri
    return urlunsplit(parts._replace(netloc=netloc, query=query))


def without_secrets(text: str, uri: str) -> str:
    """Return `text`, such as a driver's error, without the secrets of `uri`."""
    text = text.replace(uri, redact(uri))
    _, _, password = urlsplit(uri).netloc.rpartition("@")[0].partition(":")
    for secret in {password, unquote(password)} - {""}:
        text = text.replace(secret, "***")
    return text


def check_store(uri: str) -> None:
    """Raise StoreUriError unless something that can be a store answers at `uri`."""
    try:
        scheme = urlsplit(uri).scheme
        if scheme in ("http", "https"):
            _check_mlflow_server(uri)
        elif scheme.split("+")[0] in _DATABASES:
            _check_database(uri)
        else:
            raise StoreUriError(
                f"{redact(uri)!r} is not a store URI: use sqlite:///FILE, postgresql://..., "
                "mysql+pymysql://..., or http(s)://... of an MLflow server"
            )
    except (
        requests.RequestException,
        sqlalchemy.exc.SQLAlchemyError,
        ImportError,
        OSError,
        ValueError,
    ) as error:
        cause = getattr(error, "orig", None) or error
        raise StoreUriError(
            f"cannot use {redact(uri)!r}: {without_secrets(str(cause), uri)}"
        ) from error


def _check_mlflow_server(uri: str) -> None:
    answer = requests.get(uri.rstrip("/") + "/health", timeout=_CONNECT_SECONDS)
    if answer.status_code != requests.codes.ok:
        raise StoreUriError(
            f"{redact(uri)!r} does not look like an MLflow server: "
            f"/health answered {answer.status_code}"
        )


def _check_database(uri: str) -> None:
    url = make_url(uri)
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise StoreUriError(f"{uri!r} is a database in memory: name a file, sqlite:///FILE")
    options = {} if backend == "sqlite" else {"connect_timeout": _CONNECT_SECONDS}
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=options)
    with engine.connect() as connection:
        sqlalchemy.inspect(connection).get_table_names()
