"""The one shape of a filter: it wraps a handler of parsed requests, and the first in the list is outermost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response

InfoHandler = Callable[[Request, RequestInfo], Awaitable[Response]]
Filter = Callable[[InfoHandler], InfoHandler]


def chain(filters: Sequence[Filter], handler: InfoHandler) -> InfoHandler:
    """Return `handler` inside of all filters."""
    for wrap in reversed(filters):
        handler = wrap(handler)
    return handler
