"""Store URIs: refused with a clear word, and shown without their secrets."""

from __future__ import annotations

import pytest

from mlflow_grpc_server.tracking.uris import StoreUriError, check_store, redact, without_secrets


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://user:s3cr3t@127.0.0.1:1/none",
        "mysql+pymysql://user:s3cr3t@127.0.0.1:1/none",
        "http://user:s3cr3t@127.0.0.1:1",
        "nonsense://user:s3cr3t@host",
        "sqlite://",
        "sqlite:///:memory:",
        "./mlruns",
        "",
        "postgresql+nodriver://user:s3cr3t@host/db",
        "postgresql://user:s3cr3t@host:port/db",
        "sqlite:////proc/none/mlflow.db",
    ],
)
def test_a_uri_without_a_store_is_refused_without_its_secret(uri: str) -> None:
    with pytest.raises(StoreUriError) as caught:
        check_store(uri)
    assert str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
        ("postgresql://a:b@h:1/d", "postgresql://a:***@h:1/d"),
        ("postgresql://a@h/d?password=b&x=1", "postgresql://a@h/d?password=***&x=1"),
        ("https://a:b%40c@h", "https://a:***@h"),
        ("./mlartifacts", "./mlartifacts"),
    ],
)
def test_a_uri_is_shown_without_its_secret(uri: str, shown: str) -> None:
    assert redact(uri) == shown


def test_a_password_is_taken_out_of_a_message_however_it_is_written() -> None:
    uri = "postgresql://a:p%40ss@h/d"
    assert without_secrets(f"{uri} p@ss p%40ss", uri) == "postgresql://a:***@h/d *** ***"
