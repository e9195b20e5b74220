"""Find what runs a pod's containers: the handler that its RuntimeClass names (pkg/kubelet/runtimeclass)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proa.client.protocol import Object
from proa.objects.resource import RUNTIME_CLASSES, Resource


def make_runtime_class(handler: str) -> Object:
    """Return the class by which pods ask for a handler, called as it is; the cluster makes it when it starts."""
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": handler},
        "handler": handler,
    }


async def runtime_handler(pod: Object, get: Callable[[Resource, str, str], Awaitable[Object]]) -> str:
    """Return the handler, "" for the node's own choice; raise NotFound where there is no such class."""
    name = pod["spec"].get("runtimeClassName")
    return str((await get(RUNTIME_CLASSES, "", name))["handler"]) if name else ""
