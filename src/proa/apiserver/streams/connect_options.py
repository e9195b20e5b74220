"""Say what a request that connects to a pod, service or node asks for, as the object that admission is shown.

Follows ConnectResource in apiserver/pkg/endpoints/handlers/rest.go and the *Options kinds of core/v1. Admission may
refuse the connection; what it would change of the options has no effect (docs/compatibility.md).
"""

from __future__ import annotations

from proa.apiserver.request_info import RequestInfo
from proa.apiserver.streams.options import is_true
from proa.client.protocol import Object, Request

CONNECTING = frozenset(("attach", "exec", "portforward", "proxy"))
_KINDS = {
    "attach": "PodAttachOptions",
    "exec": "PodExecOptions",
    "portforward": "PodPortForwardOptions",
}
_PROXIES = {"nodes": "NodeProxyOptions", "pods": "PodProxyOptions", "services": "ServiceProxyOptions"}


def connect_options(request: Request, info: RequestInfo) -> Object:
    """Return the options; those that are false or empty are left out, as Go does."""
    kind = _PROXIES[info.plural] if info.subresource == "proxy" else _KINDS[info.subresource]
    options: Object = {"kind": kind, "apiVersion": "v1"}
    if info.subresource == "proxy":
        found: Object = {"path": info.subpath}
    elif info.subresource == "portforward":
        found = {"ports": [int(p) for text in request.query.get("ports", ()) for p in _numbers(text)]}
    else:
        found = {name: is_true(request, name) for name in ("stdin", "stdout", "stderr", "tty")}
        found["container"] = request.parameter("container")
        found["command"] = request.query.get("command") or [] if info.subresource == "exec" else []
    options.update((key, value) for key, value in found.items() if value)
    return options


def _numbers(text: str) -> list[str]:
    """Return the numbers of a comma-separated list; what is none is for the handler to refuse."""
    return [part for part in text.split(",") if part.isascii() and part.isdigit() and len(part) < 6]
