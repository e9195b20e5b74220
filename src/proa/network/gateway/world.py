"""What planners may ask of the cluster beside the object that they plan: Services, Secrets, Namespaces, grants.

Whoever answers notes what was asked, so that a change of exactly that has it planned again.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from proa.client.protocol import Object
from proa.network.gateway.model import BackendKey, ObjectKey

HTTP2 = ("kubernetes.io/h2c", "h2c", "http2", "grpc")
"""What a Service's port says (appProtocol) that speaks HTTP/2 without TLS: Kubernetes' word, and common ones."""
TLS = ("https", "tls", "kubernetes.io/wss", "wss")


class World(Protocol):
    """The cluster's state of now; absent objects are None."""

    def service(self, key: ObjectKey) -> Object | None: ...

    def secret(self, key: ObjectKey) -> Object | None: ...

    def namespace(self, name: str) -> Object | None: ...

    def grants(self, namespace: str) -> list[Object]:
        """Return the ReferenceGrants of a namespace."""


class Problem(NamedTuple):
    """Something that people should be told: a CamelCase reason, and a sentence."""

    reason: str
    message: str


def find_backend(
    world: World, key: ObjectKey, port: int | str, *, is_http2: bool = False
) -> BackendKey | Problem:
    """Return the backend that a Service's port (its number or name) is, or why there is none."""
    service = world.service(key)
    if service is None:
        return Problem("BackendNotFound", f'Service "{key}" not found')
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return Problem(
            "UnsupportedValue", f'Service "{key}" is of type ExternalName, which is no backend here'
        )
    for entry in spec.get("ports") or ():
        if port not in (entry["port"], entry.get("name")) or (entry.get("protocol") or "TCP") != "TCP":
            continue
        protocol = (entry.get("appProtocol") or "").lower()
        if protocol in TLS:
            words = f'Service "{key}" wants TLS at port {_quoted(port)} (appProtocol), which it is not sent'
            return Problem("UnsupportedProtocol", words)
        return BackendKey(key, entry["port"], is_http2 or protocol in HTTP2)
    return Problem("BackendNotFound", f'Service "{key}" has no TCP port {_quoted(port)}')


def _quoted(port: Any) -> str:
    return str(port) if isinstance(port, int) else f'"{port}"'
