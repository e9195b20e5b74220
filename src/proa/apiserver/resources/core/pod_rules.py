"""Say what is wrong with a pod or a pod template (pkg/apis/core/validation ValidatePodSpec)."""

from __future__ import annotations

from collections.abc import Iterable

from proa.apiserver.resources.core.container_rules import validate_containers, validate_init_containers
from proa.apiserver.resources.core.ephemeral_rules import validate_ephemeral_containers
from proa.apiserver.resources.core.resource_rules import validate_resources
from proa.apiserver.resources.core.scheduling_rules import (
    validate_affinity,
    validate_tolerations,
    validate_topology_spread,
)
from proa.apiserver.resources.core.volume_rules import validate_volumes
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
    ip_address,
    not_supported,
    qualified_name,
    required,
    validate_annotations,
    validate_labels,
)

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
MAX_INT32 = 2**31 - 1
MAX_NAME_SERVERS, MAX_SEARCH_DOMAINS = 3, 32


def validate_pod(pod: Object) -> list[Cause]:
    """Check a Pod."""
    return validate_pod_spec(pod.get("spec") or {}, "spec")


def validate_pod_create(pod: Object) -> list[Cause]:
    """Check what only a pod that is new must not say."""
    spec = pod.get("spec") or {}
    causes: list[Cause] = []
    if spec.get("ephemeralContainers"):
        causes.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        causes.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return causes


def validate_pod_template(template: Object, field: str) -> list[Cause]:
    """Check a PodTemplateSpec."""
    metadata = template.get("metadata") or {}
    causes = validate_labels(metadata.get("labels"), f"{field}.labels")
    causes += validate_annotations(metadata.get("annotations"), f"{field}.annotations")
    causes += validate_pod_spec(template.get("spec") or {}, f"{field}.spec")
    if (template.get("spec") or {}).get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        causes.append(forbidden(f"{field}.spec.ephemeralContainers", detail))
    return causes


def validate_pod_spec(spec: Object, field: str) -> list[Cause]:
    """Check what pods and pod templates have in common."""
    volumes = {v.get("name", ""): v for v in spec.get("volumes", ())}
    mains, inits = spec.get("containers", []), spec.get("initContainers", [])
    causes = validate_volumes(spec.get("volumes", ()), f"{field}.volumes")
    causes += validate_containers(mains, volumes, f"{field}.containers")
    causes += validate_init_containers(inits, mains, volumes, f"{field}.initContainers")
    if spec.get("ephemeralContainers"):
        causes += validate_ephemeral_containers(spec, volumes, f"{field}.ephemeralContainers")
    causes += validate_resources(spec.get("resources") or {}, f"{field}.resources")
    causes += _validate_choice(spec.get("restartPolicy", ""), f"{field}.restartPolicy", RESTART_POLICIES)
    causes += _validate_choice(spec.get("dnsPolicy", ""), f"{field}.dnsPolicy", DNS_POLICIES)
    causes += validate_labels(spec.get("nodeSelector"), f"{field}.nodeSelector")
    causes += _validate_security(spec, field)
    causes += _validate_pull_secrets(spec.get("imagePullSecrets", ()), f"{field}.imagePullSecrets")
    causes += validate_affinity(spec.get("affinity") or {}, f"{field}.affinity")
    causes += _validate_dns_config(spec, f"{field}.dnsConfig")
    causes += _validate_gates(spec, field)
    causes += validate_topology_spread(
        spec.get("topologySpreadConstraints", ()), f"{field}.topologySpreadConstraints"
    )
    causes += _validate_names(spec, field)
    causes += validate_tolerations(spec.get("tolerations", ()), f"{field}.tolerations")
    causes += _validate_host_aliases(spec.get("hostAliases", ()), f"{field}.hostAliases")
    policy = spec.get("preemptionPolicy")
    if policy is not None:
        supported = ("PreemptLowerPriority", "Never")
        causes += _validate_choice(policy, f"{field}.preemptionPolicy", supported)
    return causes + validate_resources({"limits": spec.get("overhead") or {}}, f"{field}.overhead")


def _validate_choice(value: str, field: str, supported: tuple[str, ...]) -> list[Cause]:
    if not value:
        return [required(field)]
    return [] if value in supported else [not_supported(field, value, supported)]


def _validate_security(spec: Object, field: str) -> list[Cause]:
    causes: list[Cause] = []
    context, path = spec.get("securityContext") or {}, f"{field}.securityContext"
    if spec.get("hostNetwork"):
        for index, container in enumerate(spec.get("containers", ())):
            for number, port in enumerate(container.get("ports", ())):
                if port.get("hostPort") != port.get("containerPort"):
                    here = f"{field}.containers[{index}].ports[{number}].containerPort"
                    detail = "must match `hostPort` when `hostNetwork` is true"
                    causes.append(invalid(here, port.get("containerPort"), detail))
    for key in ("fsGroup", "runAsUser", "runAsGroup"):
        if key in context:
            causes += all_invalid(f"{path}.{key}", context[key], in_range(context[key], 0, MAX_INT32))
    for index, group in enumerate(context.get("supplementalGroups", ())):
        causes += all_invalid(f"{path}.supplementalGroups[{index}]", group, in_range(group, 0, MAX_INT32))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        causes.append(invalid(f"{path}.shareProcessNamespace", True, detail))
    for index, sysctl in enumerate(context.get("sysctls", ())):
        if not sysctl.get("name"):
            causes.append(required(f"{path}.sysctls[{index}].name"))
    if "fsGroupChangePolicy" in context:
        supported = ("Always", "OnRootMismatch")
        causes += _validate_choice(context["fsGroupChangePolicy"], f"{path}.fsGroupChangePolicy", supported)
    return causes


def _validate_pull_secrets(secrets: Iterable[Object], field: str) -> list[Cause]:
    return [
        invalid(f"{field}[{index}]", secret, "name must be set")
        for index, secret in enumerate(secrets)
        if set(secret) - {"name"}
    ]


def _validate_dns_config(spec: Object, field: str) -> list[Cause]:
    config = spec.get("dnsConfig") or {}
    servers, searches = config.get("nameservers", ()), config.get("searches", ())
    causes: list[Cause] = []
    if spec.get("dnsPolicy") == "None" and not servers:
        detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        causes.append(required(f"{field}.nameservers", detail))
    if len(servers) > MAX_NAME_SERVERS:
        causes.append(
            invalid(
                f"{field}.nameservers", servers, f"must not have more than {MAX_NAME_SERVERS} nameservers"
            )
        )
    for index, server in enumerate(servers):
        causes += all_invalid(f"{field}.nameservers[{index}]", server, ip_address(server))
    if len(searches) > MAX_SEARCH_DOMAINS:
        detail = f"must not have more than {MAX_SEARCH_DOMAINS} search paths"
        causes.append(invalid(f"{field}.searches", searches, detail))
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
    for key in ("priorityClassName", "runtimeClassName"):
        if spec.get(key):
            causes += all_invalid(f"{field}.{key}", spec[key], dns_subdomain(spec[key]))
    return causes


def _validate_host_aliases(aliases: Iterable[Object], field: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, alias in enumerate(aliases):
        path, address = f"{field}[{index}]", alias.get("ip", "")
        causes += all_invalid(f"{path}.ip", address, ip_address(address))
        for number, name in enumerate(alias.get("hostnames", ())):
            causes += all_invalid(f"{path}.hostnames[{number}]", name, dns_subdomain(name))
    return causes
