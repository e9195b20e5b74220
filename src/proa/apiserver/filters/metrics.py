"""Count requests by verb, resource and code, as apiserver/pkg/endpoints/metrics does."""

from __future__ import annotations

from proa.apiserver.filters.chain import Filter, InfoHandler
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response
from proa.observability.metrics import Counter


def with_metrics(requests: Counter) -> Filter:
    """Count into `requests`, whose labels are verb, group, version, resource, subresource, code."""

    def wrap(handler: InfoHandler) -> InfoHandler:
        async def handle(request: Request, info: RequestInfo) -> Response:
            response = await handler(request, info)
            requests.add(
                (info.verb, info.group, info.version, info.plural, info.subresource, response.status)
            )
            return response

        return handle

    return wrap
