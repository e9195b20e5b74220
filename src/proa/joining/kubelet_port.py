"""Be a kubelet's own HTTPS port: logs, exec, attach, port-forward, and what it shows of its pods and their use.

The same handlers serve streams as the API server's do (apiserver/streams); what they need of a pod is in the
kubelet's cache. Everything is authenticated and authorized (kubelet_access.py). Follows pkg/kubelet/server/server.go.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from proa.apiserver.streams.context import StreamContext
from proa.apiserver.streams.exec import attach_to_pod, exec_in_pod
from proa.apiserver.streams.logs import get_log
from proa.apiserver.streams.portforward import forward_ports
from proa.client.protocol import Object, Request, Response
from proa.joining.kubelet_access import KubeletAccess
from proa.objects.errors import ApiError, InternalError, NotFound
from proa.objects.resource import Resource

if TYPE_CHECKING:
    from proa.client.kubelet_api import KubeletApi
    from proa.node.server import KubeletServer

logger = logging.getLogger(__name__)

TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_STREAMS: dict[str, Callable[[Request, StreamContext], Awaitable[Response]]] = {
    "exec": exec_in_pod,
    "attach": attach_to_pod,
}
_FLAGS = {"input": "stdin", "output": "stdout", "error": "stderr", "tty": "tty"}
"""What the kubelet calls the options of exec and attach, and what the API server does."""
_PLACES = {"containerLogs": (3, 3), "exec": (3, 4), "attach": (3, 4), "portForward": (2, 3)}
"""How many parts may follow: namespace, pod, a uid where there is one more, container (but for portForward)."""


class KubeletPort:
    """One node's. `find_server` returns what answers, None while the node is down."""

    def __init__(self, find_server: Callable[[], KubeletServer | None], access: KubeletAccess) -> None:
        self._find_server = find_server
        self._access = access

    async def handle(self, request: Request) -> Response:
        """Answer one request; an error is a Status, so that the API server can pass it on as it is."""
        try:
            return await self._authorized(request)
        except ApiError as error:
            return _refusal(error)
        except Exception:
            logger.exception("kubelet request failed method=%s path=%s", request.method, request.path)
            return _refusal(InternalError("Internal Server Error"))

    async def _authorized(self, request: Request) -> Response:
        user = await self._access.find_user(request)
        if user is None:
            return Response(401, TEXT, b"Unauthorized")
        if refusal := await self._access.find_refusal(user, request):
            return Response(403, TEXT, refusal.encode())
        server = self._find_server()
        if server is None:
            return Response(503, TEXT, b"the node is not up\n")
        return await self._route(request, server)

    async def _route(self, request: Request, server: KubeletServer) -> Response:
        first, _, rest = request.path.strip("/").partition("/")
        if first in _PLACES:
            return await self._stream(request, server, first, rest.split("/"))
        if request.method in ("GET", "HEAD") and (page := await server.document(request.path)) is not None:
            content_type, body = page
            return Response(200, {"Content-Type": content_type}, body)
        return Response(404, TEXT, b"404 page not found\n")

    async def _stream(self, request: Request, server: KubeletServer, what: str, parts: list[str]) -> Response:
        least, most = _PLACES[what]
        if not least <= len(parts) <= most or not all(parts):
            return Response(404, TEXT, b"404 page not found\n")
        namespace, name = parts[:2]
        uid = parts[2] if len(parts) == most and most > least else ""
        context = _make_context(server, namespace, name, uid)
        if what == "portForward":
            return await forward_ports(request, context)
        query = {**request.query, "container": [parts[-1]]}
        if what == "containerLogs":
            return await get_log(replace(request, query=query), context)
        query |= {theirs: query.pop(ours) for ours, theirs in _FLAGS.items() if ours in query}
        return await _STREAMS[what](replace(request, query=query), context)


def _make_context(server: KubeletServer, namespace: str, name: str, uid: str) -> StreamContext:
    """Return what the handlers are told of a pod of this node."""

    async def get_object(resource: Resource, name: str, namespace: str) -> Object:
        found = server.find_pod(namespace, name, uid)
        if found is None:
            raise NotFound("pod does not exist", name=name, kind=resource.plural)
        return found

    async def list_objects(resource: Resource, namespace: str, selector: str) -> list[Object]:
        raise NotFound(f"a kubelet has no {resource.plural}", kind=resource.plural)

    async def kubelet(node: str) -> KubeletApi:
        return server

    return StreamContext(namespace, name, "", get_object, list_objects, kubelet)


def _refusal(error: ApiError) -> Response:
    status: dict[str, Any] = error.status()
    return Response(error.code, {"Content-Type": "application/json"}, orjson.dumps(status))
