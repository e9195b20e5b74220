"""List the streaming subresources and their handlers; the API server routes to them by (plural, subresource)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proa.apiserver.streams.context import StreamContext
from proa.apiserver.streams.exec import attach_to_pod, exec_in_pod
from proa.apiserver.streams.logs import get_log
from proa.apiserver.streams.portforward import forward_ports
from proa.apiserver.streams.proxy import proxy_to_node, proxy_to_pod, proxy_to_service
from proa.client.protocol import Request, Response

StreamHandler = Callable[[Request, StreamContext], Awaitable[Response]]

SUBRESOURCE_HANDLERS: dict[tuple[str, str], StreamHandler] = {
    ("pods", "log"): get_log,
    ("pods", "exec"): exec_in_pod,
    ("pods", "attach"): attach_to_pod,
    ("pods", "portforward"): forward_ports,
    ("pods", "proxy"): proxy_to_pod,
    ("services", "proxy"): proxy_to_service,
    ("nodes", "proxy"): proxy_to_node,
}
