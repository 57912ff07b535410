"""google.protobuf.Struct and plain values, as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

__all__ = ["from_struct", "from_value", "text_key", "to_struct", "to_value"]

# From here on a double does not tell one whole number from the next.
_EXACT = 2**53
# The kinds of numpy's datetime64 and timedelta64.
_TIMES = ("M", "m")


def from_struct(struct: Struct) -> dict[str, Any]:
    """Return a Struct as a dict; whole numbers as int, for a JSON parser would give that."""
    return {key: from_value(value) for key, value in struct.fields.items()}


def from_value(value: Value) -> Any:
    """Return a Value as JSON's parser would give it."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT else number
    if kind == "string_value":
        return value.string_value
    if kind == "list_value":
        return [from_value(item) for item in value.list_value.values]
    if kind == "struct_value":
        return from_struct(value.struct_value)
    if kind == "bool_value":
        return value.bool_value
    return None


def to_struct(parsed: Mapping[str, Any]) -> Struct:
    """Return a dict of JSON's types as a Struct.

    Tuples are lists, and what numpy has is what its `tolist` gives. Raises `TypeError` for a
    value of any other type, and for a key that is no text.
    """
    struct = Struct()
    _fill_fields(struct, parsed)
    return struct


def to_value(parsed: Any) -> Value:
    """Return a value of JSON's types as a Value, as `to_struct` does."""
    value = Value()
    _fill(value, parsed)
    return value


def _fill(value: Value, parsed: Any) -> None:
    if isinstance(parsed, bool):
        value.bool_value = parsed
    elif isinstance(parsed, (int, float)):
        value.number_value = _double(parsed)
    elif isinstance(parsed, str):
        value.string_value = parsed
    elif isinstance(parsed, (list, tuple)):
        value.list_value.SetInParent()
        for item in parsed:
            _fill(value.list_value.values.add(), item)
    elif isinstance(parsed, Mapping):
        value.struct_value.SetInParent()
        _fill_fields(value.struct_value, parsed)
    elif parsed is None:
        value.null_value = NULL_VALUE
    else:
        _fill(value, _plain(parsed))


def _fill_fields(struct: Struct, parsed: Mapping[str, Any]) -> None:
    for key, item in parsed.items():
        _fill(struct.fields[text_key(key)], item)


def text_key(key: Any) -> str:
    """Return a key of JSON; raises `TypeError` for one that is no text."""
    if not isinstance(key, str):
        raise TypeError(f"a key of JSON is text, and cannot be {type(key).__name__}")
    return key


def _double(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError as error:
        raise TypeError("a value of JSON cannot be int beyond what a double holds") from error


def _plain(parsed: Any) -> Any:
    """Return what numpy has, and whatever is like it, as Python's own values."""
    dtype = getattr(parsed, "dtype", None)
    # Of these numpy makes whole numbers, whose unit is lost.
    if dtype is not None and getattr(dtype, "kind", "") not in _TIMES:
        plain = parsed.tolist() if hasattr(parsed, "tolist") else parsed
        if not isinstance(plain, type(parsed)):
            return plain
    name = type(parsed).__name__ if dtype is None else f"{type(parsed).__name__} of {dtype}"
    raise TypeError(f"a value of JSON cannot be {name}")
