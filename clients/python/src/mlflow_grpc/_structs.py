"""google.protobuf.Struct and plain values, as JSON has them."""

from __future__ import annotations

from typing import Any

from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

__all__ = ["from_struct", "from_value", "to_struct", "to_value"]

# From here on a double does not tell one whole number from the next.
_EXACT = 2**53


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


def to_struct(parsed: dict[str, Any]) -> Struct:
    """Return a dict of JSON's types as a Struct."""
    struct = Struct()
    for key, value in parsed.items():
        _fill(struct.fields[key], value)
    return struct


def to_value(parsed: Any) -> Value:
    """Return a value of JSON's types as a Value."""
    value = Value()
    _fill(value, parsed)
    return value


def _fill(value: Value, parsed: Any) -> None:
    if isinstance(parsed, bool):
        value.bool_value = parsed
    elif isinstance(parsed, (int, float)):
        value.number_value = float(parsed)
    elif isinstance(parsed, str):
        value.string_value = parsed
    elif isinstance(parsed, dict):
        value.struct_value.SetInParent()
        for key, item in parsed.items():
            _fill(value.struct_value.fields[key], item)
    elif isinstance(parsed, list):
        value.list_value.SetInParent()
        for item in parsed:
            _fill(value.list_value.values.add(), item)
    else:
        value.null_value = NULL_VALUE
