"""Checks of single request fields, each naming its field in what it raises."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode
from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModel
from mlflow.utils import validation
from mlflow.utils.uri import is_local_uri

from mlflow_grpc.v1.resources_pb2 import Tag
from mlflow_grpc_server.exceptions import InvalidFieldError

__all__ = [
    "DESCRIPTION_TAG",
    "at_most",
    "blame",
    "experiment_id",
    "is_local",
    "key",
    "model_alias",
    "model_id",
    "model_name",
    "model_version",
    "one_of",
    "run_id",
    "tags",
    "tags_with_description",
    "text",
    "time_ms",
    "time_to_proto",
    "uri",
]

DESCRIPTION_TAG = "mlflow.note.content"

_EXPERIMENT_ID = re.compile(r"[0-9]{1,18}")
_MODEL_ID = re.compile(r"m-[0-9a-zA-Z-]{1,64}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_MOST_SHOWN = 100
_MOST_MODEL_NAME: int = SqlRegisteredModel.__table__.c.name.type.length


@contextmanager
def blame(field: str) -> Iterator[None]:
    """Turn MLflow's refusal of a value into one that names `field`."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(INVALID_PARAMETER_VALUE):
            raise
        raise InvalidFieldError(field, error.message) from error


def shown(value: str) -> str:
    """Return `value` as it may stand in a message."""
    return repr(value) if len(value) <= _MOST_SHOWN else repr(value[:_MOST_SHOWN]) + "..."


def text(field: str, value: str, most: int, *, required: bool = False) -> str:
    """Return `value`, of at most `most` characters and without NUL."""
    if required and not value:
        raise InvalidFieldError(field, "is required")
    if "\0" in value:
        raise InvalidFieldError(field, "contains the character NUL (U+0000)")
    if len(value) > most:
        raise InvalidFieldError(
            field, f"has {len(value):,} characters, more than the {most:,} allowed"
        )
    return value


def uri(field: str, value: str) -> SplitResult:
    """Return the parts of a URI or path."""
    try:
        return urlsplit(value)
    except ValueError as error:
        raise InvalidFieldError(field, f"does not parse: {error}") from error


def is_local(field: str, value: str) -> bool:
    """Return whether a URI or path is one of this machine."""
    uri(field, value)
    try:
        return bool(is_local_uri(value))
    except MlflowException as error:
        raise InvalidFieldError(field, "is a file of another host") from error


def _matching(field: str, value: str, pattern: re.Pattern[str], form: str) -> str:
    if not value:
        raise InvalidFieldError(field, "is required")
    if not pattern.fullmatch(value):
        raise InvalidFieldError(field, f"{shown(value)} is not {form}")
    return value


def experiment_id(value: str, field: str = "experiment_id") -> str:
    """Return an experiment id."""
    return _matching(field, value, _EXPERIMENT_ID, "an experiment id (decimal digits)")


def run_id(value: str, field: str = "run_id") -> str:
    """Return a run id."""
    form = "a run id (1 to 256 letters, digits, '_' and '-')"
    return _matching(field, value, validation._RUN_ID_REGEX, form)


def model_id(value: str, field: str = "model_id") -> str:
    """Return a logged model's id."""
    return _matching(field, value, _MODEL_ID, "a logged model's id (m-...)")


def model_version(value: str, field: str = "version") -> str:
    """Return a model version's number."""
    return _matching(field, value, _VERSION, "a version (a number from 1)")


def model_name(value: str, field: str = "name") -> str:
    """Return a registered model's name."""
    text(field, value, _MOST_MODEL_NAME, required=True)
    with blame(field):
        validation._validate_model_name(value)
    return value


def model_alias(value: str, field: str = "alias") -> str:
    """Return an alias that may be resolved."""
    text(field, value, validation.MAX_REGISTERED_MODEL_ALIAS_LENGTH, required=True)
    with blame(field):
        validation._validate_model_alias_name(value)
    if not validation._REGISTERED_MODEL_ALIAS_REGEX.fullmatch(value):
        raise InvalidFieldError(field, "ends with a line break")
    return value


def key(field: str, value: str) -> str:
    """Return the key of a tag, param or metric."""
    if not _is_good_key(value):
        text(field, value, validation.MAX_ENTITY_KEY_LENGTH, required=True)
        with blame(field):
            validation._validate_tag_name(value, field)
    return value


@lru_cache(maxsize=4096)
def _is_good_key(value: str) -> bool:
    """Tell whether MLflow takes a key. The same few come with every message of a trainer."""
    try:
        text("", value, validation.MAX_ENTITY_KEY_LENGTH, required=True)
        validation._validate_tag_name(value)
    except (InvalidFieldError, MlflowException):
        return False
    return True


def tags(items: Sequence[Tag], most_value: int, field: str = "tags") -> dict[str, str]:
    """Return tags as a dict, each key given once."""
    checked: dict[str, str] = {}
    for index, tag in enumerate(items):
        name = key(f"{field}[{index}].key", tag.key)
        if name in checked:
            raise InvalidFieldError(f"{field}[{index}].key", f"{shown(name)} is given twice")
        checked[name] = text(f"{field}[{index}].value", tag.value, most_value)
    return checked


def tags_with_description(
    items: Sequence[Tag], description: str, most_value: int
) -> dict[str, str]:
    """Return tags as a dict, with `description` under the key where MLflow keeps it."""
    checked = tags(items, most_value)
    if description:
        if DESCRIPTION_TAG in checked:
            raise InvalidFieldError("description", f"stands in the tag {DESCRIPTION_TAG!r} too")
        checked[DESCRIPTION_TAG] = text("description", description, most_value)
    return checked


def at_most(field: str, items: Sequence[object], most: int) -> None:
    """Refuse more than `most` items."""
    if len(items) > most:
        raise InvalidFieldError(
            field, f"has {len(items):,} entries, more than the {most:,} allowed"
        )


def one_of(field: str, value: int, names: dict[int, str]) -> str:
    """Return the name of an enum value that must be one of `names`."""
    if value not in names:
        allowed = ", ".join(names.values())
        raise InvalidFieldError(field, f"must be one of {allowed}; {value} is none of them")
    return names[value]


def time_ms(message: Message, field: str) -> int | None:
    """Return the Timestamp in `field` in milliseconds since the epoch; None if absent."""
    if not message.HasField(field):
        return None
    value: Timestamp = getattr(message, field)
    if not 0 <= value.seconds <= 253402300799 or not 0 <= value.nanos < 10**9:
        raise InvalidFieldError(field, "is not a time from 1970 to 9999")
    return value.seconds * 1000 + value.nanos // 10**6


def time_to_proto(ms: int | None) -> Timestamp | None:
    """Return milliseconds since the epoch as a Timestamp; None stays None."""
    if ms is None:
        return None
    seconds, rest = divmod(int(ms), 1000)
    return Timestamp(seconds=seconds, nanos=rest * 10**6)
