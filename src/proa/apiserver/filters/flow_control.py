"""Let each request in when there is a seat for it at its priority level, else answer 429 and when to try again.

Follows apiserver/pkg/server/filters/priority-and-fairness.go and longrunning.go. Long-running requests are told their
level and take no seat.
"""

from __future__ import annotations

from proa.apiserver.filters.chain import Filter, InfoHandler
from proa.apiserver.filters.errors import with_errors
from proa.apiserver.flowcontrol.control import FlowControl
from proa.apiserver.request_info import RequestInfo
from proa.client.protocol import Request, Response

_LONG_SUBRESOURCES = frozenset(("attach", "exec", "proxy", "log", "portforward"))
RETRY_SECONDS = "1"


def is_long_running(info: RequestInfo) -> bool:
    """Tell whether a request may take as long as it likes: a watch, a stream."""
    return info.verb == "watch" or (info.is_resource and info.subresource in _LONG_SUBRESOURCES)


def with_flow_control(control: FlowControl) -> Filter:
    """Bound the requests under way, level by level. Refusals further on are answered here, to be told their level."""

    def wrap(handler: InfoHandler) -> InfoHandler:
        answer = with_errors(handler)

        async def handle(request: Request, info: RequestInfo) -> Response:
            assert request.user is not None
            schema, level = control.flow_of(request.user, info)
            if level.settings.is_exempt or is_long_running(info):
                response = await answer(request, info)
            elif level.take() or await level.wait(f"{schema.name} {schema.flow_of(request.user, info)}"):
                try:
                    response = await answer(request, info)
                finally:
                    level.release()
            else:
                response = _too_many()
            if schema.uid:
                response.headers["X-Kubernetes-PF-FlowSchema-UID"] = schema.uid
                response.headers["X-Kubernetes-PF-PriorityLevel-UID"] = level.settings.uid
            return response

        return handle

    return wrap


def _too_many() -> Response:
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
        "Retry-After": RETRY_SECONDS,
    }
    return Response(429, headers, b"Too many requests, please try again later.\n")
