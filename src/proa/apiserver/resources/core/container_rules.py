"""Say what is wrong with a pod's containers (pkg/apis/core/validation validateContainers and what it calls)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from proa.apiserver.resources.core.probe_rules import validate_handler, validate_probe
from proa.apiserver.resources.core.resource_rules import validate_resources
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    config_key,
    dns_label,
    dns_subdomain,
    duplicate,
    environment_name,
    forbidden,
    in_range,
    invalid,
    ip_address,
    not_found,
    not_supported,
    port_name,
    port_number,
    required,
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
_SUBSCRIPTED = re.compile(r"metadata\.(annotations|labels)\['[^']+'\]\Z")


def validate_containers(containers: list[Object], volumes: Mapping[str, Object], field: str) -> list[Cause]:
    """Check the main containers."""
    if not containers:
        return [required(field)]
    causes: list[Cause] = []
    names: set[str] = set()
    for index, container in enumerate(containers):
        path = f"{field}[{index}]"
        causes += validate_common(container, volumes, path)
        causes += _unique_name(container, names, path)
        causes += _validate_lifecycle(container, path)
        for probe in PROBES:
            causes += validate_probe(container.get(probe), f"{path}.{probe}")
        if container.get("restartPolicy") and not container.get("restartPolicyRules"):
            causes += validate_enum(
                container["restartPolicy"], f"{path}.restartPolicy", ("Always", "OnFailure", "Never")
            )
    return causes + validate_host_port_conflicts(containers, field)


def validate_init_containers(
    containers: list[Object], mains: Iterable[Object], volumes: Mapping[str, Object], field: str
) -> list[Cause]:
    """Check the init containers; only sidecars (restartPolicy Always) may have probes and hooks."""
    causes: list[Cause] = []
    names = {c.get("name", "") for c in mains}
    for index, container in enumerate(containers):
        path = f"{field}[{index}]"
        causes += validate_common(container, volumes, path)
        causes += _unique_name(container, names, path)
        if container.get("restartPolicy") == "Always":
            causes += _validate_lifecycle(container, path)
            for probe in PROBES:
                causes += validate_probe(container.get(probe), f"{path}.{probe}")
        else:
            causes += [
                forbidden(f"{path}.{key}", "may not be set for init containers without restartPolicy=Always")
                for key in ("lifecycle", *PROBES)
                if key in container
            ]
    return causes


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


def validate_common(container: Object, volumes: Mapping[str, Object], path: str) -> list[Cause]:
    """Check what containers of all kinds have in common."""
    name, image = container.get("name", ""), container.get("image", "")
    causes = all_invalid(f"{path}.name", name, dns_label(name)) if name else [required(f"{path}.name")]
    if not image:
        causes.append(required(f"{path}.image"))
    elif image.strip() != image:
        causes.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    policy = container.get("terminationMessagePolicy")
    causes += validate_enum(policy, f"{path}.terminationMessagePolicy", ("FallbackToLogsOnError", "File"))
    causes += validate_ports(container.get("ports", ()), f"{path}.ports")
    causes += validate_environment(container.get("env", ()), f"{path}.env")
    causes += _validate_environment_from(container.get("envFrom", ()), f"{path}.envFrom")
    causes += _validate_mounts(container, volumes, path)
    causes += validate_enum(
        container.get("imagePullPolicy"), f"{path}.imagePullPolicy", ("Always", "IfNotPresent", "Never")
    )
    causes += validate_resources(container.get("resources") or {}, f"{path}.resources")
    return causes + _validate_security_context(container.get("securityContext"), f"{path}.securityContext")


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
        if port.get("hostIP"):
            causes += all_invalid(f"{path}.hostIP", port["hostIP"], ip_address(port["hostIP"]))
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
    if _SUBSCRIPTED.match(field_path) or field_path in allowed:
        return []
    if field_path in (*FIELD_PATHS, "metadata.annotations", "metadata.labels"):
        return [not_supported(f"{path}.fieldPath", field_path, sorted(allowed))]
    detail = f"error converting fieldPath: field label not supported: {field_path}"
    return [invalid(f"{path}.fieldPath", field_path, detail)]


def validate_resource_reference(reference: Object, path: str, *, is_volume: bool) -> list[Cause]:
    """Check a reference to a container's limits or requests."""
    if is_volume and not reference.get("containerName"):
        return [required(f"{path}.containerName")]
    resource = reference.get("resource", "")
    if not resource:
        return [required(f"{path}.resource")]
    if resource in RESOURCE_PATHS or resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        return []
    return [not_supported(f"{path}.resource", resource, RESOURCE_PATHS)]


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
            name = source[key].get("name", "")
            causes += all_invalid(f"{path}.{key}.name", name, dns_subdomain(name))
        if not given:
            causes.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            causes.append(invalid(path, "", "may not have more than one field specified at a time"))
    return causes


def _validate_mounts(container: Object, volumes: Mapping[str, Object], path: str) -> list[Cause]:
    causes: list[Cause] = []
    devices = {d.get("devicePath") for d in container.get("volumeDevices", ())}
    paths: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts", ())):
        here = f"{path}.volumeMounts[{index}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            causes.append(required(f"{here}.name"))
        if name not in volumes:
            causes.append(not_found(f"{here}.name", name))
        if not target:
            causes.append(required(f"{here}.mountPath"))
        if target in paths:
            causes.append(invalid(f"{here}.mountPath", target, "must be unique"))
        if target in devices:
            causes.append(
                invalid(f"{here}.mountPath", target, "must not already exist as a path in volumeDevices")
            )
        paths.add(target)
        causes += _validate_sub_paths(mount, here)
        if "mountPropagation" in mount:
            supported = ("Bidirectional", "HostToContainer", "None")
            causes += validate_enum(mount["mountPropagation"], f"{here}.mountPropagation", supported)
    return causes


def _validate_sub_paths(mount: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("subPath", "subPathExpr"):
        if mount.get(key):
            causes += validate_descending_path(mount[key], f"{path}.{key}")
    if mount.get("subPath") and mount.get("subPathExpr"):
        detail = "subPathExpr and subPath are mutually exclusive"
        causes.append(invalid(f"{path}.subPathExpr", mount["subPathExpr"], detail))
    return causes


def validate_descending_path(value: str, field: str) -> list[Cause]:
    """Check that a path stays below where it starts."""
    causes = [invalid(field, value, "must be a relative path")] if value.startswith("/") else []
    return causes + ([invalid(field, value, "must not contain '..'")] if ".." in value.split("/") else [])


def _validate_lifecycle(container: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    lifecycle = container.get("lifecycle") or {}
    for hook in ("postStart", "preStop"):
        if hook in lifecycle:
            causes += validate_handler(lifecycle[hook], f"{path}.lifecycle.{hook}", hook=True)
    return causes


def _validate_security_context(context: Any, field: str) -> list[Cause]:
    causes: list[Cause] = []
    if not context:
        return causes
    for key in ("runAsUser", "runAsGroup"):
        if key in context:
            causes += all_invalid(f"{field}.{key}", context[key], in_range(context[key], 0, 2**31 - 1))
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            causes.append(invalid(field, context, detail))
        if "SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            causes.append(invalid(field, context, detail))
    if "procMount" in context:
        causes += validate_enum(context["procMount"], f"{field}.procMount", ("Default", "Unmasked"))
    return causes
