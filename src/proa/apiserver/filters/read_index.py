"""Where other servers write to the store too, have each request see what was acknowledged before it came.

Everything that is made of stored objects is then as new as they are: roles, tokens, kinds, policies. As upstream's
consistent reads from cache (KEP-2340), but for all that a request depends on. Requests that come while the store is
asked share the next answer.
"""

from __future__ import annotations

from proa.apiserver.filters.chain import Filter, InfoHandler
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response
from proa.store.protocol import Store


def with_read_index(store: Store) -> Filter:
    """Wait for the store before anything else is looked at; raise Unavailable."""

    def wrap(handler: InfoHandler) -> InfoHandler:
        async def handle(request: Request, info: RequestInfo) -> Response:
            if store.is_shared and needs_newest(request, info, store.revision):
                await store.barrier()
            return await handler(request, info)

        return handle

    return wrap


def needs_newest(request: Request, info: RequestInfo, revision: int) -> bool:
    """Tell whether a request is for more than what is known at `revision`: not a read of any state, nor a probe."""
    if not info.is_resource:
        return info.path.startswith(("/api", "/openapi"))
    asked = request.parameter("resourceVersion")
    return not asked or (len(asked) < 20 and asked.isdecimal() and int(asked) > revision)
