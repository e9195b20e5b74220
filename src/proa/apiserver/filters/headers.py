"""Give every answer an Audit-Id, and tell caches to keep nothing: endpoints/filters/cachecontrol.go, audit_init.go."""

from __future__ import annotations

from proa.apiserver.filters.chain import InfoHandler
from proa.apiserver.registry.metadata import new_uid
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response


def with_headers(handler: InfoHandler) -> InfoHandler:
    """Add the headers that all answers have; the client may choose the Audit-Id."""

    async def handle(request: Request, info: RequestInfo) -> Response:
        given = request.headers.get("audit-id", "")
        audit_id = given[:64] if given and given.isprintable() else new_uid()
        request.headers["audit-id"] = audit_id
        response = await handler(request, info)
        headers = response.headers
        headers["Audit-Id"] = audit_id
        headers.setdefault("Cache-Control", "no-cache, private")
        return response

    return handle
