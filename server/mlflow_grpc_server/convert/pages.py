"""Pages of lists: tokens bound to their query, and answers of bounded size."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message
from mlflow.entities import ViewType as MlflowViewType

from mlflow_grpc.v1.resources_pb2 import ViewType
from mlflow_grpc_server.convert import fields
from mlflow_grpc_server.exceptions import InvalidFieldError

__all__ = ["MAX_PAGE_BYTES", "ListQuery", "Page", "list_query", "page_of", "respond", "view_type"]

# Below the 4 MiB that a gRPC client takes unless told otherwise, with room for the last item.
MAX_PAGE_BYTES = 3 * 2**20

_MOST_FILTER = 65_536
_MOST_ORDER_BY = 100

R = TypeVar("R", bound=Message)


@dataclass(frozen=True)
class Page:
    """Which part of a list to read: `limit` items from `store_token`, the first `skip` unsent."""

    query_digest: str
    limit: int
    store_token: str | None
    skip: int

    def token(self, store_token: str | bytes | None, skip: int) -> str:
        """Return the token of the page that begins `skip` items after `store_token`."""
        if isinstance(store_token, bytes):
            store_token = store_token.decode()
        content = json.dumps([self.query_digest, store_token, skip])
        return base64.urlsafe_b64encode(content.encode()).decode()


@dataclass(frozen=True)
class ListQuery:
    """A list request, checked. `filter` and `order_by` are in MLflow's syntax."""

    page: Page
    filter: str | None
    order_by: list[str] | None


def page_of(request: Any, default: int, maximum: int) -> Page:
    """Return the page that `request` asks for."""
    if request.page_size < 0:
        raise InvalidFieldError("page_size", f"is {request.page_size}; it may not be negative")
    size = min(request.page_size or default, maximum)
    digest = _digest(request)
    if not request.page_token:
        return Page(digest, size, None, 0)
    token_digest, store_token, skip = _parse_token(request.page_token)
    if token_digest != digest:
        raise InvalidFieldError("page_token", "comes from another query")
    return Page(digest, min(size + skip, maximum), store_token, skip)


def list_query(
    request: Any,
    parse_filter: Callable[[str], list[dict[str, Any]]],
    parse_order_by: Callable[[str], tuple[Any, ...]],
    default: int = 100,
    maximum: int = 1000,
) -> ListQuery:
    """Return what a list request asks for, its filter and order checked by MLflow's parsers."""
    page = page_of(request, default, maximum)
    expression = fields.text("filter", request.filter, _MOST_FILTER)
    if expression:
        _check_numbers(_parsed("filter", parse_filter, expression))
    fields.at_most("order_by", request.order_by, _MOST_ORDER_BY)
    columns = [
        _parsed(
            f"order_by[{index}]", parse_order_by, fields.text(f"order_by[{index}]", column, 600)
        )
        for index, column in enumerate(request.order_by)
    ]
    # The last part of a parsed column is its direction.
    names = [column[:-1] for column in columns]
    for index, name in enumerate(names):
        if "" in name:
            raise InvalidFieldError(f"order_by[{index}]", "names no column")
        if name in names[:index]:
            raise InvalidFieldError(f"order_by[{index}]", "names a column a second time")
    return ListQuery(page, expression or None, list(request.order_by) or None)


def _check_numbers(comparisons: Iterable[Mapping[str, Any]]) -> None:
    for comparison in comparisons:
        value = comparison["value"]
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InvalidFieldError("filter", f"{comparison['key']} has 64 bits, {value} has more")


def _parsed(field: str, parse: Callable[[str], Any], value: str) -> Any:
    try:
        return parse(value)
    except Exception as error:  # MLflow's parsers raise whatever their tokenizer trips over.
        raise InvalidFieldError(field, f"does not parse: {error}") from error


def view_type(value: int) -> int:
    """Return MLflow's view type."""
    names: dict[int, int] = {
        ViewType.VIEW_TYPE_UNSPECIFIED: MlflowViewType.ACTIVE_ONLY,
        ViewType.VIEW_TYPE_ACTIVE_ONLY: MlflowViewType.ACTIVE_ONLY,
        ViewType.VIEW_TYPE_DELETED_ONLY: MlflowViewType.DELETED_ONLY,
        ViewType.VIEW_TYPE_ALL: MlflowViewType.ALL,
    }
    if value not in names:
        raise InvalidFieldError("view_type", f"{value} is not a view type")
    return names[value]


def respond(
    response: R,
    field: str,
    items: Iterable[Message],
    page: Page,
    next_store_token: str | bytes | None,
) -> R:
    """Fill `field` of `response` with `items` of `page`, up to MAX_PAGE_BYTES, and the token."""
    listed: Sequence[Message] = list(items)
    target = getattr(response, field)
    size = 0
    for index in range(page.skip, len(listed)):
        size += listed[index].ByteSize()
        if size > MAX_PAGE_BYTES and index > page.skip:
            response.next_page_token = page.token(page.store_token, index)  # type: ignore[attr-defined]
            return response
        target.append(listed[index])
    if next_store_token:
        response.next_page_token = page.token(next_store_token, 0)  # type: ignore[attr-defined]
    return response


def _digest(request: Message) -> str:
    query = type(request)()
    query.CopyFrom(request)
    query.ClearField("page_size")
    query.ClearField("page_token")
    content = query.DESCRIPTOR.full_name.encode() + query.SerializeToString(deterministic=True)
    return hashlib.sha256(content).hexdigest()[:32]


def _parse_token(token: str) -> tuple[str, str | None, int]:
    try:
        digest, store_token, skip = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise InvalidFieldError("page_token", "is not a token of this server") from error
    known = isinstance(digest, str) and isinstance(store_token, str | None)
    if not known or type(skip) is not int or not 0 <= skip <= 10**6:
        raise InvalidFieldError("page_token", "is not a token of this server")
    return digest, store_token, skip
