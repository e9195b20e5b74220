"""Say what is wrong with a Service (pkg/apis/core/validation ValidateService and ValidateServiceUpdate)."""

from __future__ import annotations

from proa.apiserver.resources.core.probe_rules import validate_port
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    Verbatim,
    all_invalid,
    cidr,
    dns_label,
    dns_subdomain,
    duplicate,
    forbidden,
    invalid,
    ip_address,
    port_number,
    qualified_name,
    required,
    validate_enum,
    validate_labels,
)

NONE_ADDRESS = "None"
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MAX_AFFINITY_SECONDS = 86400


def needs_cluster_ip(spec: Object) -> bool:
    """Tell whether the type has an address of its own (or "None")."""
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def needs_node_port(spec: Object) -> bool:
    """Tell whether ports are to be offered on nodes."""
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True))


def is_headless(spec: Object) -> bool:
    """Tell whether the service has no address, only names."""
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return bool(addresses[0] == NONE_ADDRESS)


def validate_service(service: Object) -> list[Cause]:
    """Check type, ports, addresses and affinity."""
    spec = service["spec"]
    kind = spec.get("type", "")
    causes: list[Cause] = []
    if not spec.get("ports") and not is_headless(spec) and kind != "ExternalName":
        causes.append(required("spec.ports"))
    causes += _validate_type(spec, kind)
    causes += _validate_ports(spec)
    causes += validate_labels(spec.get("selector"), "spec.selector")
    causes += _validate_affinity(spec)
    causes += _validate_cluster_ips(spec)
    for index, address in enumerate(spec.get("externalIPs", ())):
        causes += all_invalid(f"spec.externalIPs[{index}]", address, ip_address(address))
    causes += validate_enum(kind, "spec.type", TYPES)
    causes += _validate_port_uniqueness(spec, kind)
    for index, source in enumerate(spec.get("loadBalancerSourceRanges", ())):
        causes += all_invalid(f"spec.loadBalancerSourceRanges[{index}]", source, cidr(source.strip()))
    return causes + _validate_policies(spec)


def _validate_type(spec: Object, kind: str) -> list[Cause]:
    if kind in ("LoadBalancer", "NodePort") and is_headless(spec):
        return [invalid("spec.clusterIPs[0]", NONE_ADDRESS, f"may not be set to 'None' for {kind} services")]
    if kind != "ExternalName":
        return []
    causes = [
        forbidden(f"spec.{key}", "may not be set for ExternalName services")
        for key in ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if spec.get(key)
    ]
    name = (spec.get("externalName") or "").rstrip(".")
    if not name:
        return [*causes, required("spec.externalName")]
    return causes + all_invalid("spec.externalName", name, dns_subdomain(name))


def _validate_ports(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    ports, names = spec.get("ports", []), set[str]()
    for index, port in enumerate(ports):
        path, name = f"spec.ports[{index}]", port.get("name", "")
        if not name:
            causes += [required(f"{path}.name")] if len(ports) > 1 else []
        else:
            causes += all_invalid(f"{path}.name", name, dns_label(name))
            causes += [duplicate(f"{path}.name", name)] if name in names else []
            names.add(name)
        causes += all_invalid(f"{path}.port", port.get("port", 0), port_number(port.get("port", 0)))
        causes += validate_enum(port.get("protocol"), f"{path}.protocol", PROTOCOLS)
        causes += validate_port(port.get("targetPort", 0), f"{path}.targetPort")
        if port.get("appProtocol") is not None:
            causes += all_invalid(
                f"{path}.appProtocol", port["appProtocol"], qualified_name(port["appProtocol"])
            )
    return causes


def _validate_affinity(spec: Object) -> list[Cause]:
    causes = validate_enum(spec.get("sessionAffinity"), "spec.sessionAffinity", ("ClientIP", "None"))
    if spec.get("sessionAffinity") == "ClientIP":
        seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds", 0)
        if not 0 < seconds <= MAX_AFFINITY_SECONDS:
            detail = f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"
            causes.append(invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, detail))
    return causes


def _validate_cluster_ips(spec: Object) -> list[Cause]:
    if not needs_cluster_ip(spec):
        return []
    primary, every = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if every and every[0] != primary:
        return [invalid("spec.clusterIPs", every, "first value must match `clusterIP`")]
    if NONE_ADDRESS in every:
        mixed = len(every) > 1 and invalid(
            "spec.clusterIPs[0]", every, "'None' must be the first and only value"
        )
        return [mixed] if mixed else []
    causes: list[Cause] = []
    for index, address in enumerate(every):
        causes += all_invalid(f"spec.clusterIPs[{index}]", address, ip_address(address))
    return causes


def _validate_port_uniqueness(spec: Object, kind: str) -> list[Cause]:
    causes: list[Cause] = []
    node_ports, ports = set[tuple[str, int]](), set[tuple[str, int]]()
    for index, port in enumerate(spec.get("ports", ())):
        path, protocol, number = f"spec.ports[{index}]", port.get("protocol", ""), port.get("nodePort", 0)
        if kind == "ClusterIP" and number:
            causes.append(forbidden(f"{path}.nodePort", "may not be used when `type` is 'ClusterIP'"))
        if number and (protocol, number) in node_ports:
            causes.append(duplicate(f"{path}.nodePort", number))
        node_ports.add((protocol, number))
        if (protocol, port.get("port", 0)) in ports:
            causes.append(duplicate(path, _go_port(protocol, port.get("port", 0))))
        ports.add((protocol, port.get("port", 0)))
    return causes


def _go_port(protocol: str, port: int) -> Verbatim:
    """Return what upstream shows as a port that stands twice."""
    return Verbatim(
        f'{{"Name":"","Protocol":"{protocol}","AppProtocol":null,"Port":{port},"TargetPort":0,"NodePort":0}}'
    )


def _validate_policies(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    for key in ("externalTrafficPolicy", "internalTrafficPolicy"):
        if spec.get(key) is not None:
            causes += validate_enum(spec[key], f"spec.{key}", ("Cluster", "Local"))
    if spec.get("trafficDistribution") is not None:
        supported = ("PreferClose", "PreferSameNode", "PreferSameZone")
        causes += validate_enum(spec["trafficDistribution"], "spec.trafficDistribution", supported)
    return causes


def validate_service_update(new: Object, old: Object) -> list[Cause]:
    """Check that the address stays, unless the type changes from or to ExternalName."""
    mine, theirs = new["spec"], old["spec"]
    if not needs_cluster_ip(mine) or not needs_cluster_ip(theirs):
        return []
    before, after = theirs.get("clusterIPs") or [], mine.get("clusterIPs") or []
    if before and not after:
        return [invalid("spec.clusterIPs[0]", after, "primary clusterIP can not be unset")]
    if before and before[0] != after[0]:
        return [invalid("spec.clusterIPs[0]", after, "may not change once set")]
    return []
