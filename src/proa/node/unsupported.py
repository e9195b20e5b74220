"""Name what a pod asks for that this node does not carry out, so that nothing is ignored in silence.

Pure. Each entry is told as an Event of the pod (reason NotSupported) and explained in docs/compatibility.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from proa.client.protocol import Object
from proa.objects.pods import containers, ephemeral_containers, init_containers

POD_FIELDS = ("shareProcessNamespace", "runtimeClassName", "setHostnameAsFQDN")
SECURITY_FIELDS = ("seLinuxOptions", "procMount", "windowsOptions")
CONTAINER_FIELDS = ("volumeDevices",)
_HARMLESS: dict[str, tuple[Any, ...]] = {"procMount": ("Default",)}


def unsupported_fields(pod: Object, offered: Collection[str] = ()) -> list[str]:
    """Return the paths of fields that have no effect on this node, which offers some extended resources."""
    spec = pod["spec"]
    found = [f"spec.{key}" for key in POD_FIELDS if spec.get(key)]
    if spec.get("hostUsers") is False:
        found.append("spec.hostUsers")
    found += _of_security(spec.get("securityContext") or {}, "spec.securityContext")
    for container in [*init_containers(pod), *containers(pod), *ephemeral_containers(pod)]:
        path = f"spec.containers{{{container['name']}}}"
        found += _of_container(container, path, offered)
        if not spec.get("hostNetwork") and any(port.get("hostPort") for port in container.get("ports") or []):
            found.append(f"{path}.ports.hostPort")
    return found


def _of_security(context: Object, path: str) -> Iterator[str]:
    for key in SECURITY_FIELDS:
        if context.get(key) and context[key] not in _HARMLESS.get(key, ()):
            yield f"{path}.{key}"
    if (context.get("seccompProfile") or {}).get("type") == "Localhost":
        yield f"{path}.seccompProfile"
    if (context.get("appArmorProfile") or {}).get("type", "Unconfined") != "Unconfined":
        yield f"{path}.appArmorProfile"


def _of_container(container: Object, path: str, offered: Collection[str]) -> Iterator[str]:
    yield from (f"{path}.{key}" for key in CONTAINER_FIELDS if container.get(key))
    yield from _of_security(container.get("securityContext") or {}, f"{path}.securityContext")
    limits = (container.get("resources") or {}).get("limits") or {}
    for resource in limits:
        if resource not in ("cpu", "memory", "ephemeral-storage") and resource not in offered:
            yield f"{path}.resources.limits.{resource}"
