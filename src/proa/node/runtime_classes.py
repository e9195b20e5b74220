"""Find what runs a pod's containers: the handler that its RuntimeClass names (pkg/kubelet/runtimeclass)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proa.client.protocol import Object
from proa.objects.resource import RUNTIME_CLASSES, Resource


async def runtime_handler(pod: Object, get: Callable[[Resource, str, str], Awaitable[Object]]) -> str:
    """Return the handler, "" for the node's own choice; raise NotFound where there is no such class."""
    name = pod["spec"].get("runtimeClassName")
    return str((await get(RUNTIME_CLASSES, "", name))["handler"]) if name else ""
