"""Name what a pod asks for that this node does not carry out, so that nothing is ignored in silence.

Pure. Each entry is told as an Event of the pod (reason NotSupported) and explained in docs/compatibility.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from proa.client.protocol import Object
from proa.node.resources import HUGE_PAGES
from proa.objects.pods import containers, ephemeral_containers, init_containers

SECURITY_FIELDS = ("seLinuxOptions", "windowsOptions")


def unsupported_fields(pod: Object, offered: Collection[str] = ()) -> list[str]:
    """Return the paths of fields that have no effect on this node, which offers some extended resources."""
    spec = pod["spec"]
    found = [*_of_security(spec.get("securityContext") or {}, "spec.securityContext")]
    for container in [*init_containers(pod), *containers(pod), *ephemeral_containers(pod)]:
        path = f"spec.containers{{{container['name']}}}"
        found += _of_container(container, path, offered)
    return found


def _of_security(context: Object, path: str) -> Iterator[str]:
    for key in SECURITY_FIELDS:
        if context.get(key):
            yield f"{path}.{key}"


def _of_container(container: Object, path: str, offered: Collection[str]) -> Iterator[str]:
    yield from _of_security(container.get("securityContext") or {}, f"{path}.securityContext")
    limits = (container.get("resources") or {}).get("limits") or {}
    for resource in limits:
        if resource.startswith(HUGE_PAGES) or resource in ("cpu", "memory", "ephemeral-storage"):
            continue
        if resource not in offered:
            yield f"{path}.resources.limits.{resource}"
