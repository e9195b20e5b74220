"""Name what the streaming subresources need from the rest of the API server: one record and one connection shape.

`SUBRESOURCE_HANDLERS` (routes.py) maps (plural, subresource) to a handler that takes a `Request` and this
`StreamContext`. An answer that takes the connection over is `Response(status=101, headers=..., upgrade=f)`:
the HTTP server writes the status line and those headers (and no others that would change the framing), then
awaits `f(connection)` and closes the connection when it returns or raises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from proa.client.kubelet_api import KubeletDialer
from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource


class UpgradedConnection(Protocol):
    """A client's connection after the 101 answer: bytes both ways, nothing of HTTP left."""

    async def read(self) -> bytes:
        """Return what arrived (first what came along with the request), b"" once the client has closed.

        Reading pauses the client when nobody asks, so that a slow consumer costs no memory.
        """

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client is slow; raise ConnectionError once the client has gone."""

    async def close(self) -> None:
        """Flush and close both ways."""


@dataclass(frozen=True, slots=True)
class StreamContext:
    """The object that was addressed, already authorized, and the ways to reach others.

    `subpath` is what follows the subresource in the path, with its leading slash and still percent-encoded
    ("" when nothing follows): for `/api/v1/namespaces/a/services/web/proxy/x%20y/` it is `/x%20y/`.
    `get_object(resource, name, namespace)` returns an object or raises NotFound; the namespace is "" for
    cluster-scoped resources. For services and pods proxied by `[scheme:]name[:port]`, `name` is that whole.
    """

    namespace: str
    name: str
    subpath: str
    get_object: Callable[[Resource, str, str], Awaitable[Object]]
    list_objects: Callable[[Resource, str, str], Awaitable[list[Object]]]
    """Return the objects of (resource, namespace, label selector): a service's EndpointSlices."""
    kubelet: KubeletDialer
