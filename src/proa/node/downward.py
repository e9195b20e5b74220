"""Tell a container about its own pod: fieldRef and resourceFieldRef, for variables and downwardAPI files.

Follows pkg/fieldpath/fieldpath.go and pkg/api/v1/resource/helpers.go (ExtractContainerResourceValue).
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.meta import labels, name, namespace, uid
from proa.objects.quantity import parse_quantity
from proa.objects.quick_dataclass import dataclass

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
_LIMIT_RESOURCES = ("cpu", "memory", "ephemeral-storage")


class FieldError(ValueError):
    """The path names nothing that a pod can tell of itself."""


@dataclass(frozen=True, slots=True)
class DownwardSource:
    """What is known of the pod beside its object. `allocatable` has the node's quantities."""

    host_ip: str
    pod_ip: str
    allocatable: dict[str, str]
    host_ipv6: str = ""
    pod_ipv6: str = ""


def field_value(pod: Object, path: str, source: DownwardSource) -> str:
    """Return the field as text; raise FieldError."""
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        return (labels(pod) if subscript[1] == "labels" else meta.annotations(pod)).get(subscript[2], "")
    spec = pod["spec"]
    values = {
        "metadata.name": name(pod),
        "metadata.namespace": namespace(pod),
        "metadata.uid": uid(pod),
        "metadata.labels": format_map(labels(pod)),
        "metadata.annotations": format_map(meta.annotations(pod)),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": source.host_ip,
        "status.hostIPs": ",".join(ip for ip in (source.host_ip, source.host_ipv6) if ip),
        "status.podIP": source.pod_ip,
        "status.podIPs": ",".join(ip for ip in (source.pod_ip, source.pod_ipv6) if ip),
    }
    if path not in values:
        raise FieldError(f"unsupported fieldPath: {path}")
    return str(values[path])


def format_map(values: dict[str, str]) -> str:
    """Return key="escaped value" lines, sorted, as downwardAPI files have them."""
    return "\n".join(f"{key}={_quote(value)}" for key, value in sorted(values.items()))


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def resource_value(pod: Object, container: Object, reference: Object, source: DownwardSource) -> str:
    """Return a request or limit in units of the divisor, rounded up; a missing limit is the pod's, or the node's."""
    wanted = reference.get("containerName")
    if wanted and wanted != container["name"]:
        container = _container_named(pod, wanted)
    kind, _, resource = reference["resource"].partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise FieldError(f"unsupported container resource : {reference['resource']}")
    resources = container.get("resources") or {}
    amount = (resources.get(kind) or {}).get(resource)
    if amount is None and kind == "requests":
        amount = (resources.get("limits") or {}).get(resource)
    if amount is None and kind == "limits" and resource in _LIMIT_RESOURCES:
        of_pod = (pod["spec"].get("resources") or {}).get("limits") or {}
        amount = of_pod.get(resource) or source.allocatable.get(resource)
    divisor = parse_quantity(str(reference.get("divisor") or "1")) or parse_quantity("1")
    value = parse_quantity(str(amount or "0")) / divisor
    return str(int(value.to_integral_value(ROUND_CEILING)))


def _container_named(pod: Object, wanted: str) -> Object:
    for container in [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]:
        if container["name"] == wanted:
            found: Object = container
            return found
    raise FieldError(f"container {wanted} not found")
