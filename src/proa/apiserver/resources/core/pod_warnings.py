"""Say what a pod template's author may not have meant, though it is allowed (pkg/api/pod/warnings.go).

Clients show these as `Warning: ...`; kinds with a template give them through `ResourceDefinition.warnings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from proa.apiserver.resources.core.annotation_rules import APPARMOR, SECCOMP_CONTAINER, SECCOMP_POD
from proa.apiserver.resources.core.scheduling_rules import PREFERRED_TERMS, REQUIRED_TERMS
from proa.apiserver.resources.core.spec_memory import once_a_spec
from proa.apiserver.resources.core.windows_rules import visit_containers
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


ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
NO_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
NULL_SELECTOR = "a null labelSelector results in matching no pod"


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
    return pod_warnings(template, f"{field}.", is_template=True)


def pod_warnings(pod: Object, prefix: str = "", *, is_template: bool = False) -> list[str]:
    """Warn of what is deprecated or doubtful in a pod, or in a template whose path and a dot are `prefix`."""
    spec = pod.get("spec") or {}
    said = _SPEC_WARNINGS(spec, f"{prefix}spec")
    annotations = (pod.get("metadata") or {}).get("annotations")
    if annotations:
        said += _annotation_warnings(annotations, spec, f"{prefix}metadata.annotations", is_template)
    return said


def _annotation_warnings(
    annotations: Mapping[str, str], spec: Object, field: str, is_template: bool
) -> Iterator[str]:
    for key, why in ANNOTATIONS.items():
        if key in annotations:
            yield f"{field}[{key}]: {why}"
    whole = spec.get("securityContext") or {}
    if SECCOMP_POD in annotations and whole.get("seccompProfile") is None:
        yield f"{field}[{SECCOMP_POD}]: {NO_SECCOMP}"
    for container, _ in visit_containers(spec, "spec"):
        context, name = container.get("securityContext") or {}, container.get("name", "")
        if f"{SECCOMP_CONTAINER}{name}" in annotations and context.get("seccompProfile") is None:
            yield f"{field}[{SECCOMP_CONTAINER}{name}]: {NO_SECCOMP}"
        has_field = "appArmorProfile" in context or "appArmorProfile" in whole
        if is_template and not has_field and f"{APPARMOR}{name}" in annotations:
            yield f'{field}[{APPARMOR}{name}]: deprecated since v1.30; use the "appArmorProfile" field instead'


def _spec_warnings(spec: Object, field: str) -> Iterator[str]:
    yield from _node_label_warnings(spec, field)
    yield from _volume_warnings(spec.get("volumes") or (), f"{field}.volumes")
    yield from _repeated(spec.get("hostAliases") or (), "ip", f"{field}.hostAliases")
    secrets = spec.get("imagePullSecrets") or ()
    yield from _repeated(secrets, "name", f"{field}.imagePullSecrets")
    for index, secret in enumerate(secrets):
        if not secret.get("name"):
            yield f'{field}.imagePullSecrets[{index}].name: invalid empty name ""'
    if "overhead" in spec:
        yield from _fraction_warnings(spec["overhead"] or {}, f"{field}.overhead")
    for container, path in visit_containers(spec, field):
        yield from _container_warnings(container, path)
    yield from _port_warnings(spec, field)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        path = f"{field}.terminationGracePeriodSeconds"
        yield f"{path}: must be >= 0; negative values are invalid and will be treated as 1"
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = (spec.get("affinity") or {}).get(kind) or {}
        for index, term in enumerate(terms.get(REQUIRED_TERMS) or ()):
            if term.get("labelSelector") is None:
                yield f"{field}.affinity.{kind}.{REQUIRED_TERMS}[{index}].labelSelector: {NULL_SELECTOR}"
        for index, term in enumerate(terms.get(PREFERRED_TERMS) or ()):
            if (term.get("podAffinityTerm") or {}).get("labelSelector") is None:
                path = f"{field}.affinity.{kind}.{PREFERRED_TERMS}[{index}].podAffinityTerm.labelSelector"
                yield f"{path}: {NULL_SELECTOR}"


_SPEC_WARNINGS = once_a_spec(_spec_warnings)


def _repeated(items: Iterable[Object], key: str, field: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        value = item.get(key, "")
        if value in seen:
            yield f"{field}[{index}].{key}: duplicate {key} {quote(value)}"
        seen.add(value)


def _volume_warnings(volumes: Sequence[Object], field: str) -> Iterator[str]:
    for index, volume in enumerate(volumes):
        yield from (f"{field}[{index}].{kind}: {why}" for kind, why in VOLUMES.items() if kind in volume)
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template is not None:
            path = f"{field}[{index}].ephemeral.volumeClaimTemplate.spec"
            yield from claim_spec_warnings(template.get("spec") or {}, path)
    tokens = {
        source["serviceAccountToken"].get("path", "")
        for volume in volumes
        for source in (volume.get("projected") or {}).get("sources") or ()
        if "serviceAccountToken" in source
    }
    if tokens:
        yield from _token_warnings(volumes, tokens, field)


def _token_warnings(volumes: Sequence[Object], tokens: set[str], field: str) -> Iterator[str]:
    """Warn of files that a token hides, or hide it; paths are as odd as upstream's."""
    for index, volume in enumerate(volumes):
        path = f"{field}[{index}].projected.sources"
        for source in (volume.get("projected") or {}).get("sources") or ():
            for kind, shown in (
                ("configMap", "configMap"),
                ("secret", "secrets"),
                ("downwardAPI", "downwardAPI"),
            ):
                for number, item in enumerate((source.get(kind) or {}).get("items") or ()):
                    if item.get("path", "") in tokens:
                        said = f"has duplicated path with ServiceAccountToken {quote(item['path'])}"
                        yield f"{path}.{shown}[{number}]: {said}"
            bundle = (source.get("clusterTrustBundle") or {}).get("path", "")
            if bundle and bundle in tokens:
                said = f"has duplicated path with ServiceAccountToken {quote(bundle)}"
                yield f"{path}.ClusterTrustBundle: {said}"


def claim_spec_warnings(spec: Object, field: str) -> Iterator[str]:
    """Warn of fractions of bytes (pkg/api/persistentvolumeclaim GetWarningsForPersistentVolumeClaimSpec)."""
    resources = spec.get("resources") or {}
    for which in ("requests", "limits"):
        amount = (resources.get(which) or {}).get("storage")
        if amount is not None and parse_quantity(amount) % 1:
            shown = quote(canonicalize(amount))
            path = f"{field}.resources.{which}[storage]"
            yield f"{path}: fractional byte value {shown} is invalid, must be an integer"


def _port_warnings(spec: Object, field: str) -> Iterator[str]:
    """Warn of ports that stand twice, or on addresses of a host that no port of it serves."""
    seen: dict[tuple[int, str], list[tuple[str, Object]]] = {}
    for container, path in visit_containers(spec, field):
        for index, port in enumerate(container.get("ports") or ()):
            here = f"{path}.ports[{index}]"
            if port.get("hostIP") and not port.get("hostPort"):
                yield f"{here}: hostIP set without hostPort: {_go_port(port)}"
            others = seen.setdefault((port.get("containerPort", 0), port.get("protocol", "")), [])
            for there, other in others:
                relation = _relation(port, other)
                if relation:
                    yield f"{here}: {relation} port definition with {there}"
            others.append((here, port))


def _relation(port: Object, other: Object) -> str:
    address, number = port.get("hostIP", ""), port.get("hostPort", 0)
    its_address, its_number = other.get("hostIP", ""), other.get("hostPort", 0)
    if (address, number) == (its_address, its_number):
        return "duplicate"
    if not number or not its_number:
        return "overlapping"
    is_vague = number == its_number and (not address) != (not its_address)
    return "dangerously ambiguous" if is_vague else ""


def _go_port(port: Object) -> str:
    """Return the port as upstream prints a struct of Go."""
    keys = {"Name": "", "HostPort": 0, "ContainerPort": 0, "Protocol": "", "HostIP": ""}
    shown = (f"{key}:{port.get(key[0].lower() + key[1:], empty)}" for key, empty in keys.items())
    return f"{{{' '.join(shown)}}}"


def _node_label_warnings(spec: Object, field: str) -> Iterator[str]:
    for key in spec.get("nodeSelector") or ():
        yield from _deprecated_label(key, f"{field}.nodeSelector[{key}]")
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    path = f"{field}.affinity.nodeAffinity"
    needed = (affinity.get(REQUIRED_TERMS) or {}).get("nodeSelectorTerms") or ()
    for index, term in enumerate(needed):
        yield from node_term_warnings(term, f"{path}.{REQUIRED_TERMS}.nodeSelectorTerms[{index}]")
    for index, weighted in enumerate(affinity.get(PREFERRED_TERMS) or ()):
        here = f"{path}.{PREFERRED_TERMS}[{index}].preference"
        yield from node_term_warnings(weighted.get("preference") or {}, here)
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        path = f"{field}.topologySpreadConstraints[{index}]"
        key = constraint.get("topologyKey", "")
        yield from _deprecated_label(key, f"{path}.topologyKey: {key} is", "")
        if constraint.get("labelSelector") is None:
            yield f"{path}.labelSelector: {NULL_SELECTOR}"


def node_term_warnings(term: Object, path: str) -> Iterator[str]:
    """Warn of deprecated labels in a NodeSelectorTerm (pkg/api/node GetWarningsForNodeSelectorTerm)."""
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        key = expression.get("key", "")
        yield from _deprecated_label(key, f"{path}.matchExpressions[{index}].key: {key} is", "")


def _deprecated_label(key: str, path: str, colon: str = ":") -> Iterator[str]:
    if key in NODE_LABELS:
        since, instead = NODE_LABELS[key]
        yield f'{path}{colon} deprecated since {since}; use "{instead}" instead'


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
