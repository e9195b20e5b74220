"""Say what is wrong with a pod's containers (pkg/apis/core/validation validateContainers and what it calls)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from proa.apiserver.resources.core.mount_rules import validate_mounts
from proa.apiserver.resources.core.probe_rules import validate_handler, validate_probe
from proa.apiserver.resources.core.resource_rules import validate_resources
from proa.apiserver.resources.core.security_rules import validate_container_security
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import (
    all_invalid,
    config_key,
    dns_label,
    dns_subdomain,
    duplicate,
    environment_name,
    forbidden,
    invalid,
    not_supported,
    port_name,
    port_number,
    qualified_name,
    required,
    too_many,
    validate_enum,
)

PROTOCOLS = ("SCTP", "TCP", "UDP")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
FIELD_PATHS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
RESOURCE_PATHS = ("limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu",
                  "requests.ephemeral-storage", "requests.memory")  # fmt: skip
SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
KNOWN_PATHS = (
    *FIELD_PATHS, "metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase",
)  # fmt: skip
SUBSCRIPTABLE = ("metadata.annotations", "metadata.labels")
_SUBSCRIPTED = re.compile(r"([^\[]+)\['(.*)'\]\Z", re.DOTALL)
HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
BYTES = {"memory": "memory", "ephemeral-storage": "local ephemeral storage", "hugepages": "hugepages"}
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
RESTART_POLICIES = ("Always", "Never", "OnFailure")
RESTART_ACTIONS = ("Restart", "RestartAllContainers")
MAX_RESTART_RULES, MAX_EXIT_CODES = 20, 255


@dataclass(frozen=True, slots=True)
class PodContext:
    """What containers are checked against, besides the pod's volumes."""

    restart_policy: str
    grace: int | None
    host_users: bool
    claims: frozenset[str]
    is_pod: bool
    """Whether it is a pod, not a template for pods."""


def validate_containers(
    containers: list[Object], volumes: Mapping[str, Object], pod: PodContext, field: str
) -> list[Cause]:
    """Check the main containers."""
    if not containers:
        return [required(field)]
    causes: list[Cause] = []
    names: set[str] = set()
    for index, container in enumerate(containers):
        path = f"{field}[{index}]"
        causes += validate_common(container, volumes, pod, path)
        causes += _unique_name(container, names, path)
        causes += _validate_lifecycle(container, pod, path)
        for probe in PROBES:
            causes += validate_probe(container.get(probe), f"{path}.{probe}")
        if "restartPolicy" in container or "restartPolicyRules" in container:
            causes += _validate_restart(container, path)
    return causes + validate_host_port_conflicts(containers, field)


def validate_init_containers(
    containers: list[Object],
    mains: Iterable[Object],
    volumes: Mapping[str, Object],
    pod: PodContext,
    field: str,
) -> list[Cause]:
    """Check the init containers; only sidecars (restartPolicy Always) may have probes and hooks."""
    causes: list[Cause] = []
    names = {c.get("name", "") for c in mains}
    for index, container in enumerate(containers):
        path = f"{field}[{index}]"
        causes += validate_common(container, volumes, pod, path)
        if "restartPolicy" in container or "restartPolicyRules" in container:
            causes += _validate_restart(container, path)
        causes += _unique_name(container, names, path)
        causes += validate_host_port_conflicts([container], field)
        if container.get("restartPolicy") == "Always":
            causes += _validate_lifecycle(container, pod, path)
            for probe in PROBES:
                causes += validate_probe(container.get(probe), f"{path}.{probe}")
        else:
            causes += [
                forbidden(f"{path}.{key}", "may not be set for init containers without restartPolicy=Always")
                for key in ("lifecycle", *PROBES)
                if key in container
            ]
    return causes


def _name_prefix(name: str) -> list[str]:
    """Upstream takes the name of a ConfigMap or Secret here for the beginning of one: it may end with a hyphen."""
    return dns_subdomain(name[:-1] + "a" if len(name) > 1 and name.endswith("-") else name)


def validate_host_port_conflicts(containers: list[Object], field: str) -> list[Cause]:
    """Check that no two ports of the pod want the same port of the node."""
    causes: list[Cause] = []
    taken: set[str] = set()
    for index, container in enumerate(containers):
        for number, port in enumerate(container.get("ports", ())):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if key in taken:
                causes.append(duplicate(f"{field}[{index}].ports[{number}].hostPort", key))
            taken.add(key)
    return causes


def _unique_name(container: Object, names: set[str], path: str) -> list[Cause]:
    name = container.get("name", "")
    causes = [duplicate(f"{path}.name", name)] if name and name in names else []
    names.add(name)
    return causes


def validate_common(
    container: Object, volumes: Mapping[str, Object], pod: PodContext, path: str
) -> list[Cause]:
    """Check what containers of all kinds have in common."""
    name, image = container.get("name", ""), container.get("image", "")
    causes = all_invalid(f"{path}.name", name, dns_label(name)) if name else [required(f"{path}.name")]
    if not image:
        causes.append(required(f"{path}.image"))
    elif pod.is_pod and image.strip() != image:
        causes.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    policy = container.get("terminationMessagePolicy")
    if policy not in MESSAGE_POLICIES:
        field = f"{path}.terminationMessagePolicy"
        causes.append(not_supported(field, policy, MESSAGE_POLICIES) if policy else required(field))
    causes += validate_ports(container.get("ports", ()), f"{path}.ports")
    causes += validate_environment(container.get("env", ()), f"{path}.env")
    causes += _validate_environment_from(container.get("envFrom", ()), f"{path}.envFrom")
    causes += validate_mounts(container, volumes, path)
    causes += validate_enum(
        container.get("imagePullPolicy"), f"{path}.imagePullPolicy", ("Always", "IfNotPresent", "Never")
    )
    causes += validate_resources(container.get("resources") or {}, f"{path}.resources", pod.claims)
    if "resizePolicy" in container:
        causes += _validate_resize_policy(container["resizePolicy"], pod, f"{path}.resizePolicy")
    context, field = container.get("securityContext"), f"{path}.securityContext"
    return causes + validate_container_security(context, field, host_users=pod.host_users)


def validate_ports(ports: Iterable[Object], field: str) -> list[Cause]:
    """Check names, numbers and protocols."""
    causes: list[Cause] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        path, name = f"{field}[{index}]", port.get("name", "")
        if name:
            problems = port_name(name)
            causes += all_invalid(f"{path}.name", name, problems)
            if not problems and name in names:
                causes.append(duplicate(f"{path}.name", name))
            names.add(name)
        number = port.get("containerPort", 0)
        number_path = f"{path}.containerPort"
        causes += all_invalid(number_path, number, port_number(number)) if number else [required(number_path)]
        if port.get("hostPort"):
            causes += all_invalid(f"{path}.hostPort", port["hostPort"], port_number(port["hostPort"]))
        causes += validate_enum(port.get("protocol"), f"{path}.protocol", PROTOCOLS)
    return causes


def validate_environment(variables: Iterable[Object], field: str) -> list[Cause]:
    """Check names and where values come from."""
    causes: list[Cause] = []
    for index, variable in enumerate(variables):
        path, name = f"{field}[{index}]", variable.get("name", "")
        causes += (
            all_invalid(f"{path}.name", name, environment_name(name)) if name else [required(f"{path}.name")]
        )
        if "valueFrom" in variable:
            causes += _validate_value_source(variable, f"{path}.valueFrom")
    return causes


def _validate_value_source(variable: Object, path: str) -> list[Cause]:
    source: Object = variable["valueFrom"]
    given = [key for key in SOURCES if key in source]
    causes: list[Cause] = []
    if "fieldRef" in source:
        causes += validate_field_reference(source["fieldRef"], FIELD_PATHS, f"{path}.fieldRef")
    if "resourceFieldRef" in source:
        causes += validate_resource_reference(
            source["resourceFieldRef"], f"{path}.resourceFieldRef", is_volume=False
        )
    for key in ("configMapKeyRef", "secretKeyRef"):
        if key in source:
            causes += _validate_key_reference(source[key], f"{path}.{key}")
    if variable.get("value") and given:
        causes.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        causes.append(invalid(path, "", "may not have more than one field specified at a time"))
    elif not given:
        choice = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        causes.append(invalid(path, "", f"must specify one of: {choice}"))
    return causes


def validate_field_reference(reference: Object, allowed: Iterable[str], path: str) -> list[Cause]:
    """Check a reference to a field of the pod itself."""
    if not reference.get("apiVersion"):
        return [required(f"{path}.apiVersion")]
    field_path = reference.get("fieldPath", "")
    if not field_path:
        return [required(f"{path}.fieldPath")]
    if reference["apiVersion"] != "v1":
        problem = f"unsupported pod version: {reference['apiVersion']}"
    elif subscripted := _SUBSCRIPTED.match(field_path):
        if subscripted[1] in SUBSCRIPTABLE:
            key = subscripted[2] if subscripted[1] == "metadata.labels" else subscripted[2].lower()
            return all_invalid(path, key, qualified_name(key))
        problem = f"field label does not support subscript: {field_path}"
    elif field_path in allowed:
        return []
    elif field_path in KNOWN_PATHS:
        return [not_supported(f"{path}.fieldPath", field_path, sorted(allowed))]
    else:
        problem = f"field label not supported: {field_path}"
    return [invalid(f"{path}.fieldPath", field_path, f"error converting fieldPath: {problem}")]


def validate_resource_reference(reference: Object, path: str, *, is_volume: bool) -> list[Cause]:
    """Check a reference to a container's limits or requests."""
    resource = reference.get("resource", "")
    causes: list[Cause] = []
    if is_volume and not reference.get("containerName"):
        causes.append(required(f"{path}.containerName"))
    elif not resource:
        causes.append(required(f"{path}.resource"))
    elif resource not in RESOURCE_PATHS and not resource.startswith(HUGE_PAGES):
        causes.append(not_supported(f"{path}.resource", resource, RESOURCE_PATHS))
    return causes + _validate_divisor(resource, reference.get("divisor") or "0", f"{path}.divisor")


def _validate_divisor(resource: str, divisor: str, field: str) -> list[Cause]:
    """Check the unit in which the amount is told."""
    if not parse_quantity(divisor):
        return []
    kind = "hugepages" if resource.startswith(HUGE_PAGES) else resource.partition(".")[2]
    shown = canonicalize(divisor)
    if kind == "cpu" and shown not in ("1m", "1"):
        detail = "only divisor's values 1m and 1 are supported with the cpu resource"
        return [invalid(field, resource, detail)]
    if kind in BYTES and shown not in BYTE_DIVISORS:
        listed = ", ".join(BYTE_DIVISORS)
        detail = f"only divisor's values {listed} are supported with the {BYTES[kind]} resource"
        return [invalid(field, resource, detail)]
    return []


def _validate_key_reference(reference: Object, path: str) -> list[Cause]:
    name, key = reference.get("name", ""), reference.get("key", "")
    causes = all_invalid(f"{path}.name", name, dns_subdomain(name))
    return causes + (all_invalid(f"{path}.key", key, config_key(key)) if key else [required(f"{path}.key")])


def _validate_environment_from(sources: Iterable[Object], field: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, source in enumerate(sources):
        path = f"{field}[{index}]"
        if source.get("prefix"):
            causes += all_invalid(f"{path}.prefix", source["prefix"], environment_name(source["prefix"]))
        given = [key for key in ("configMapRef", "secretRef") if key in source]
        for key in given:
            name, here = source[key].get("name", ""), f"{path}.{key}.name"
            causes += all_invalid(here, name, _name_prefix(name)) if name else [required(here)]
        if not given:
            causes.append(invalid(field, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            causes.append(invalid(field, "", "may not have more than one field specified at a time"))
    return causes


def _validate_lifecycle(container: Object, pod: PodContext, path: str) -> list[Cause]:
    causes: list[Cause] = []
    lifecycle = container.get("lifecycle") or {}
    for hook in ("postStart", "preStop"):
        if hook in lifecycle:
            causes += validate_handler(lifecycle[hook], f"{path}.lifecycle.{hook}", pod.grace)
    return causes


def _validate_resize_policy(policies: Iterable[Object], pod: PodContext, field: str) -> list[Cause]:
    """Check what a resize of a resource means for the container."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, policy in enumerate(policies):
        resource, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if resource in seen:
            causes.append(duplicate(f"{field}[{index}]", resource))
        seen.add(resource)
        causes += validate_enum(resource, field, ("cpu", "memory"))
        causes += validate_enum(restart, field, ("NotRequired", "RestartContainer"))
        if pod.restart_policy == "Never" and restart != "NotRequired":
            detail = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            causes.append(invalid(field, restart, detail))
    return causes


def _validate_restart(container: Object, path: str) -> list[Cause]:
    """Check when the container alone is restarted (KEP-5307)."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
    causes: list[Cause] = []
    if policy is None and rules:
        detail = "must specify restartPolicy when restart rules are used"
        causes.append(required(f"{path}.restartPolicy", detail))
    elif policy is not None and policy not in RESTART_POLICIES:
        causes.append(not_supported(f"{path}.restartPolicy", policy, RESTART_POLICIES))
    field = f"{path}.restartPolicyRules"
    if len(rules) > MAX_RESTART_RULES:
        causes.append(too_many(field, len(rules), MAX_RESTART_RULES))
    for index, rule in enumerate(rules):
        here, action, codes = f"{field}[{index}]", rule.get("action", ""), rule.get("exitCodes")
        if action not in RESTART_ACTIONS:
            causes.append(not_supported(f"{here}.action", action, RESTART_ACTIONS))
        if codes is None:
            causes.append(required(f"{here}.exitCodes", "must be specified"))
            continue
        operator, values = codes.get("operator", ""), codes.get("values") or []
        if operator not in ("In", "NotIn"):
            causes.append(not_supported(f"{here}.exitCodes.operator", operator, ("In", "NotIn")))
        if len(values) > MAX_EXIT_CODES:
            causes.append(too_many(f"{here}.exitCodes.values", len(values), MAX_EXIT_CODES))
    return causes
