"""Say what is wrong with a pod or a pod template (pkg/apis/core/validation ValidatePodSpec)."""

from __future__ import annotations

from collections.abc import Iterable

from proa.apiserver.resources.core.annotation_rules import (
    validate_annotation_values,
    validate_profile_annotations,
)
from proa.apiserver.resources.core.claim_reference_rules import validate_pod_claims
from proa.apiserver.resources.core.container_rules import (
    PodContext,
    validate_containers,
    validate_init_containers,
)
from proa.apiserver.resources.core.ephemeral_rules import validate_ephemeral_containers
from proa.apiserver.resources.core.resource_rules import validate_pod_level_resources, validate_resources
from proa.apiserver.resources.core.scheduling_rules import (
    validate_affinity,
    validate_tolerations,
    validate_topology_spread,
)
from proa.apiserver.resources.core.security_rules import validate_host_users, validate_pod_security
from proa.apiserver.resources.core.spec_memory import once_a_spec
from proa.apiserver.resources.core.volume_rules import validate_volumes
from proa.apiserver.resources.core.windows_rules import validate_host_process, validate_os
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    dns_label,
    dns_subdomain,
    duplicate,
    forbidden,
    in_range,
    invalid,
    not_supported,
    qualified_name,
    required,
    search_domain,
    validate_annotations,
    validate_labels,
)
from proa.objects.validation_addresses import legacy_ip

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
MAX_INT32 = 2**31 - 1
MAX_NAME_SERVERS, MAX_SEARCH_DOMAINS, MAX_SEARCH_BYTES = 3, 32, 2048


def validate_pod(pod: Object) -> list[Cause]:
    """Check a Pod."""
    spec = pod.get("spec") or {}
    annotations = pod["metadata"].get("annotations")
    causes: list[Cause] = []
    if annotations:
        causes += validate_annotation_values(annotations, spec, "metadata.annotations")
    causes += validate_pod_spec(spec, "spec", pod["metadata"].get("name") or "", is_pod=True)
    if not spec.get("serviceAccountName"):
        causes += _validate_no_tokens(spec)
    return causes


def _validate_no_tokens(spec: Object) -> list[Cause]:
    detail = "must not be specified when serviceAccountName is not set"
    return [
        forbidden(f"spec.volumes[{index}].projected.sources[{number}].serviceAccountToken", detail)
        for index, volume in enumerate(spec.get("volumes") or ())
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or ())
        if "serviceAccountToken" in source
    ]


def validate_pod_create(pod: Object) -> list[Cause]:
    """Check what only a pod that is new must not say."""
    spec = pod.get("spec") or {}
    causes: list[Cause] = []
    if spec.get("ephemeralContainers"):
        causes.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        causes.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return causes + validate_profile_annotations(pod["metadata"].get("annotations") or {}, spec, "spec")


def validate_pod_template(template: Object, field: str) -> list[Cause]:
    """Check a PodTemplateSpec."""
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    causes = validate_labels(metadata.get("labels"), f"{field}.labels")
    annotations = metadata.get("annotations")
    if annotations:
        causes += validate_annotations(annotations, f"{field}.annotations")
        causes += validate_annotation_values(annotations, spec, f"{field}.annotations")
    causes += validate_pod_spec(spec, f"{field}.spec")
    if annotations:
        causes += validate_profile_annotations(annotations, spec, f"{field}.spec")
    if spec.get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        causes.append(forbidden(f"{field}.spec.ephemeralContainers", detail))
    return causes


def validate_pod_spec(spec: Object, field: str, name: str = "", *, is_pod: bool = False) -> list[Cause]:
    """Check what pods (which have a name) and pod templates have in common."""
    is_named = name and any("ephemeral" in volume for volume in spec.get("volumes") or ())
    return _SPEC_CAUSES(spec, field, name if is_named else "", is_pod)


def _judge_spec(spec: Object, field: str, name: str, is_pod: bool) -> list[Cause]:
    """See `validate_pod_spec`; only claims of ephemeral volumes are named after the pod."""
    volumes, causes = validate_volumes(spec.get("volumes", ()), f"{field}.volumes", name, is_pod=is_pod)
    mains, inits = spec.get("containers", []), spec.get("initContainers", [])
    claims = spec.get("resourceClaims") or ()
    pod = PodContext(
        restart_policy=spec.get("restartPolicy", ""),
        grace=spec.get("terminationGracePeriodSeconds"),
        host_users=spec.get("hostUsers") is not False,
        claims=frozenset(claim.get("name", "") for claim in claims),
        is_pod=is_pod,
    )
    if claims:
        causes += validate_pod_claims(claims, f"{field}.resourceClaims")
    causes += validate_containers(mains, volumes, pod, f"{field}.containers")
    causes += validate_init_containers(inits, mains, volumes, pod, f"{field}.initContainers")
    if spec.get("ephemeralContainers"):
        causes += validate_ephemeral_containers(spec, volumes, pod, f"{field}.ephemeralContainers")
    if spec.get("resources"):
        causes += validate_pod_level_resources(spec, f"{field}.resources")
    causes += _validate_host_ports(spec, f"{field}.containers", is_pod=is_pod)
    causes += _validate_choice(spec.get("restartPolicy", ""), f"{field}.restartPolicy", RESTART_POLICIES)
    causes += _validate_choice(spec.get("dnsPolicy", ""), f"{field}.dnsPolicy", DNS_POLICIES)
    causes += validate_labels(spec.get("nodeSelector"), f"{field}.nodeSelector")
    causes += validate_pod_security(spec, field)
    causes += validate_affinity(spec.get("affinity") or {}, f"{field}.affinity")
    causes += _validate_dns_config(spec, f"{field}.dnsConfig")
    causes += _validate_gates(spec, field)
    causes += validate_topology_spread(
        spec.get("topologySpreadConstraints", ()), f"{field}.topologySpreadConstraints"
    )
    causes += validate_host_process(spec, field)
    causes += validate_host_users(spec, field)
    causes += _validate_names(spec, field)
    causes += validate_tolerations(spec.get("tolerations", ()), f"{field}.tolerations")
    causes += _validate_host_aliases(spec.get("hostAliases", ()), f"{field}.hostAliases")
    causes += _validate_class_names(spec, field)
    policy = spec.get("preemptionPolicy")
    if policy is not None:
        supported = ("PreemptLowerPriority", "Never")
        causes += _validate_choice(policy, f"{field}.preemptionPolicy", supported)
    if "overhead" in spec:
        causes += validate_resources({"limits": spec["overhead"] or {}}, f"{field}.overhead")
    return causes + (validate_os(spec, field) if spec.get("os") is not None else [])


_SPEC_CAUSES = once_a_spec(_judge_spec)


def _validate_host_ports(spec: Object, field: str, *, is_pod: bool) -> list[Cause]:
    """On the host's network a port is the host's; templates may leave it to the pods' defaults."""
    causes: list[Cause] = []
    for index, container in enumerate(spec.get("containers", ()) if spec.get("hostNetwork") else ()):
        for number, port in enumerate(container.get("ports", ())):
            host_port = port.get("hostPort", 0)
            if (is_pod or host_port) and host_port != port.get("containerPort", 0):
                detail = "must match `containerPort` when `hostNetwork` is true"
                causes.append(invalid(f"{field}[{index}].ports[{number}].hostPort", host_port, detail))
    return causes


def _validate_choice(value: str, field: str, supported: tuple[str, ...]) -> list[Cause]:
    if not value:
        return [required(field)]
    return [] if value in supported else [not_supported(field, value, supported)]


def _validate_dns_config(spec: Object, field: str) -> list[Cause]:
    config = spec.get("dnsConfig") or {}
    servers, searches = config.get("nameservers", ()), config.get("searches", ())
    causes: list[Cause] = []
    if spec.get("dnsPolicy") == "None":
        if spec.get("dnsConfig") is None:
            return [required(field, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not servers:
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(f"{field}.nameservers", detail)]
    if len(servers) > MAX_NAME_SERVERS:
        causes.append(
            invalid(
                f"{field}.nameservers", servers, f"must not have more than {MAX_NAME_SERVERS} nameservers"
            )
        )
    for index, server in enumerate(servers):
        causes += all_invalid(f"{field}.nameservers[{index}]", server, legacy_ip(server))
    if len(searches) > MAX_SEARCH_DOMAINS:
        detail = f"must not have more than {MAX_SEARCH_DOMAINS} search paths"
        causes.append(invalid(f"{field}.searches", searches, detail))
    if len(" ".join(searches).encode()) > MAX_SEARCH_BYTES:
        rule = f"must not have more than {MAX_SEARCH_BYTES} characters (including spaces) in the search list"
        causes.append(invalid(f"{field}.searches", searches, rule))
    for index, search in enumerate(searches):
        if search != ".":
            domain = search.removesuffix(".")
            causes += all_invalid(f"{field}.searches[{index}]", domain, search_domain(domain))
    for index, option in enumerate(config.get("options", ())):
        if not option.get("name"):
            causes.append(required(f"{field}.options[{index}]", "must not be empty"))
    return causes


def _validate_gates(spec: Object, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, gate in enumerate(spec.get("readinessGates", ())):
        name = gate.get("conditionType", "")
        causes += all_invalid(f"{field}.readinessGates[{index}].conditionType", name, qualified_name(name))
    seen: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates", ())):
        name, path = gate.get("name", ""), f"{field}.schedulingGates[{index}]"
        causes += all_invalid(path, name, qualified_name(name))
        if name in seen:
            causes.append(duplicate(path, name))
        seen.add(name)
    return causes


def _validate_names(spec: Object, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("serviceAccountName", "nodeName"):
        if spec.get(key):
            causes += all_invalid(f"{field}.{key}", spec[key], dns_subdomain(spec[key]))
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None:
        causes += all_invalid(f"{field}.activeDeadlineSeconds", seconds, in_range(seconds, 1, MAX_INT32))
    for key in ("hostname", "subdomain"):
        if spec.get(key):
            causes += all_invalid(f"{field}.{key}", spec[key], dns_label(spec[key]))
    return causes


def _validate_class_names(spec: Object, field: str) -> list[Cause]:
    causes: list[Cause] = []
    if spec.get("priorityClassName"):
        name = spec["priorityClassName"]
        causes += all_invalid(f"{field}.priorityClassName", name, dns_subdomain(name))
    if spec.get("runtimeClassName") is not None:
        name = spec["runtimeClassName"]
        causes += all_invalid(f"{field}.runtimeClassName", name, dns_subdomain(name))
    return causes


def _validate_host_aliases(aliases: Iterable[Object], field: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, alias in enumerate(aliases):
        path, address = f"{field}[{index}]", alias.get("ip", "")
        causes += all_invalid(f"{path}.ip", address, legacy_ip(address))
        for number, name in enumerate(alias.get("hostnames", ())):
            causes += all_invalid(f"{path}.hostnames[{number}]", name, dns_subdomain(name))
    return causes
