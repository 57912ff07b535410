"""A call that is ready to be made, and a list that is ready to be paged through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

__all__ = ["Call", "Method", "Page", "Pages", "chunks", "done", "Service"]

T = TypeVar("T")
RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC, as the channel needs it."""

    path: str
    """`/package.Service/Method`."""
    decode: Callable[[bytes], Message]
    kind: str = "unary_unary"
    """The method of a channel that makes such calls."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A call that is ready to be made: `convert` makes its result of the response."""

    method: Method
    request: Message
    convert: Callable[[Any], T]


class Service:
    """Makes the calls of one service.

    Every RPC has a request message of its own, named after it, so that the request says which
    RPC it is for. The response type is given as well, for the type checker; a test compares it
    with the descriptor.
    """

    def __init__(self, service: ServiceDescriptor) -> None:
        self._prefix = f"/{service.full_name}/"
        self._methods = service.methods_by_name

    def __call__(
        self, request: RequestT, response: type[ResponseT], convert: Callable[[ResponseT], T]
    ) -> Call[T]:
        name = request.DESCRIPTOR.name.removesuffix("Request")
        kind = "unary_stream" if self._methods[name].server_streaming else "unary_unary"
        return Call(Method(self._prefix + name, response.FromString, kind), request, convert)


def done(response: Message) -> None:
    """Converts a response that says no more than that it is done."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list."""

    items: list[T]
    next_page_token: str


class Pages(Generic[T]):
    """A list that is ready to be paged through, up to `max_results` items if given.

    `page(page_size, page_token)` makes the call for one page; a size of 0 leaves it to the
    server.
    """

    def __init__(
        self,
        page: Callable[[int, str], Call[Page[T]]],
        max_results: int | None,
        page_size: int | None,
    ) -> None:
        if max_results is not None and max_results < 0:
            raise ValueError(f"max_results must not be negative, and is {max_results}")
        if page_size is not None and page_size < 1:
            raise ValueError(f"page_size must be at least 1, and is {page_size}")
        self._page = page
        self._page_size = page_size or 0
        self._left = max_results
        self._token: str | None = ""

    def next_call(self) -> Call[Page[T]] | None:
        """The call for the next page; None if there is nothing more to ask for."""
        if self._token is None or self._left == 0:
            return None
        size = self._page_size
        if self._left is not None:
            size = min(size or self._left, self._left)
        return self._page(size, self._token)

    def take(self, page: Page[T]) -> list[T]:
        """Takes in a page, and gives the items of it that are wanted."""
        self._token = page.next_page_token or None
        items = page.items if self._left is None else page.items[: self._left]
        if self._left is not None:
            self._left -= len(items)
        return items


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
