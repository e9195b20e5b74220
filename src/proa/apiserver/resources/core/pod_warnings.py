"""Say what a pod template's author may not have meant, though it is allowed (pkg/api/pod/warnings.go).

Clients show these as `Warning: ...`; kinds with a template give them through `ResourceDefinition.warnings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proa.client.protocol import Object
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.validation import dns_label, quote

NODE_LABELS = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
}
VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}


def name_warnings(obj: Object, used_in: str = "Pod names and hostnames") -> list[str]:
    """Warn of a name that pods cannot have as their host name."""
    problems = dns_label(obj["metadata"].get("name") or "")
    if not problems:
        return []
    return [
        f"metadata.name: this is used in {used_in}, which can result in surprising behavior; "
        f"a DNS label is recommended: [{' '.join(problems)}]"
    ]


def template_warnings(template: Object, field: str, old: Object | None = None) -> list[str]:
    """Warn of what is deprecated or doubtful in a pod template, unless it is as it was."""
    if template == old:
        return []
    return spec_warnings(template.get("spec") or {}, f"{field}.spec")


def spec_warnings(spec: Object, field: str) -> list[str]:
    """Warn of what is deprecated or doubtful in a pod's spec."""
    return list(_spec_warnings(spec, field))


def _spec_warnings(spec: Object, field: str) -> Iterator[str]:
    yield from _node_label_warnings(spec, field)
    for index, volume in enumerate(spec.get("volumes") or ()):
        yield from (
            f"{field}.volumes[{index}].{kind}: {why}" for kind, why in VOLUMES.items() if kind in volume
        )
    seen: set[str] = set()
    for index, secret in enumerate(spec.get("imagePullSecrets") or ()):
        path, name = f"{field}.imagePullSecrets[{index}].name", secret.get("name", "")
        if not name:
            yield f"{path}: invalid empty name {quote(name)}"
        elif name in seen:
            yield f"{path}: duplicate name {quote(name)}"
        seen.add(name)
    for key in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(key) or ()):
            yield from _container_warnings(container, f"{field}.{key}[{index}]")
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        path = f"{field}.terminationGracePeriodSeconds"
        yield f"{path}: must be >= 0; negative values are invalid and will be treated as 1"


def _node_label_warnings(spec: Object, field: str) -> Iterator[str]:
    for key in spec.get("nodeSelector") or ():
        yield from _deprecated_label(key, f"{field}.nodeSelector[{key}]")
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        path = f"{field}.topologySpreadConstraints[{index}]"
        yield from _deprecated_label(constraint.get("topologyKey", ""), f"{path}.topologyKey")
        if constraint.get("labelSelector") is None:
            yield f"{path}.labelSelector: a null labelSelector results in matching no pod"


def _deprecated_label(key: str, path: str) -> Iterator[str]:
    if key in NODE_LABELS:
        since, instead = NODE_LABELS[key]
        yield f'{path}: deprecated since {since}; use "{instead}" instead'


def _container_warnings(container: Object, path: str) -> Iterator[str]:
    resources = container.get("resources") or {}
    for which in ("limits", "requests"):
        yield from _fraction_warnings(resources.get(which) or {}, f"{path}.resources.{which}")
    names: set[str] = set()
    for index, variable in enumerate(container.get("env") or ()):
        name, value = variable.get("name", ""), variable.get("value", "")
        reference = f"$({name})"
        hides = "valueFrom" in variable or value == reference or reference not in value
        if name in names and hides:
            yield f"{path}.env[{index}]: hides previous definition of {quote(name)}, which may be unexpected"
        names.add(name)


def _fraction_warnings(amounts: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in ("memory", "ephemeral-storage"):
        if name in amounts and parse_quantity(amounts[name]) % 1:
            shown = quote(canonicalize(amounts[name]))
            yield f"{path}[{name}]: fractional byte value {shown} is invalid, must be an integer"
