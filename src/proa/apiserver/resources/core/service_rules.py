"""Say what is wrong with a Service (pkg/apis/core/validation ValidateService and ValidateServiceUpdate)."""

from __future__ import annotations

from proa.apiserver.resources.core.probe_rules import validate_port
from proa.apiserver.resources.core.service_address_rules import (
    NONE_ADDRESS,
    is_headless,
    validate_address_change,
    validate_addresses,
)
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    Verbatim,
    all_invalid,
    dns_label,
    dns_subdomain,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    port_number,
    qualified_name,
    required,
    validate_enum,
    validate_labels,
)
from proa.objects.validation_addresses import find_address, legacy_cidr, legacy_ip, special_ip

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
TRAFFIC = ("Cluster", "Local")
DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
IP_MODES = ("Proxy", "VIP")
MAX_AFFINITY_SECONDS = 86400
TOPOLOGY_HINTS, TOPOLOGY_MODE = (
    "service.kubernetes.io/topology-aware-hints",
    "service.kubernetes.io/topology-mode",
)
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"


def needs_cluster_ip(spec: Object) -> bool:
    """Tell whether the type has an address of its own (or "None")."""
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def needs_node_port(spec: Object) -> bool:
    """Tell whether ports are to be offered on nodes."""
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True))


def needs_health_check(spec: Object) -> bool:
    """Tell whether nodes are to say on a port of their own whether they have a pod of the service."""
    return bool(spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local")


def is_reached_from_outside(spec: Object) -> bool:
    """Tell whether nodes take traffic for the service."""
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or bool(kind == "ClusterIP" and spec.get("externalIPs"))


def validate_service(service: Object) -> list[Cause]:
    """Check type, ports, addresses, affinity and policies."""
    spec, annotations = service["spec"], service["metadata"].get("annotations") or {}
    kind = spec.get("type", "")
    causes = _validate_topology(annotations) if annotations else []
    if not spec.get("ports") and not is_headless(spec) and kind != "ExternalName":
        causes.append(required("spec.ports"))
    causes += _validate_type(spec, kind)
    causes += _validate_ports(spec)
    causes += validate_labels(spec.get("selector"), "spec.selector")
    causes += _validate_affinity(spec)
    if kind != "ExternalName":
        causes += validate_addresses(spec)
    for index, address in enumerate(spec.get("externalIPs", ())):
        problems = legacy_ip(address) or special_ip(address)
        causes += all_invalid(f"spec.externalIPs[{index}]", address, problems)
    causes += validate_enum(kind, "spec.type", TYPES)
    causes += _validate_port_uniqueness(spec, kind)
    causes += _validate_load_balancer(spec, annotations)
    return causes + _validate_policies(spec)


def _validate_topology(annotations: Object) -> list[Cause]:
    hints, mode = annotations.get(TOPOLOGY_HINTS), annotations.get(TOPOLOGY_MODE)
    if hints is None or mode is None or hints == mode:
        return []
    detail = f"must match annotations[{TOPOLOGY_HINTS}] when both are specified"
    return [invalid(f"metadata.annotations[{TOPOLOGY_MODE}]", mode, detail)]


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
    name = (spec.get("externalName") or "").removesuffix(".")
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
    kind, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    causes = validate_enum(kind, "spec.sessionAffinity", ("ClientIP", "None"))
    field = "spec.sessionAffinityConfig"
    if kind == "None" and config is not None:
        return [*causes, forbidden(field, "must not be set when session affinity is None")]
    if kind != "ClientIP":
        return causes
    for key in ("clientIP", "timeoutSeconds"):
        if config is None:
            return [*causes, required(field, "when session affinity type is ClientIP")]
        field, config = f"{field}.{key}", config.get(key)
    if config is None:
        return [*causes, required(field, "when session affinity type is ClientIP")]
    if not 0 < config <= MAX_AFFINITY_SECONDS:
        detail = f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"
        causes.append(invalid(field, config, detail))
    return causes


def _validate_port_uniqueness(spec: Object, kind: str) -> list[Cause]:
    causes: list[Cause] = []
    ports = spec.get("ports", ())
    if kind == "ClusterIP":
        detail = "may not be used when `type` is 'ClusterIP'"
        causes += [
            forbidden(f"spec.ports[{i}].nodePort", detail) for i, p in enumerate(ports) if p.get("nodePort")
        ]
    seen: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        protocol, number = port.get("protocol", ""), port.get("nodePort", 0)
        if number and (protocol, number) in seen:
            causes.append(duplicate(f"spec.ports[{index}].nodePort", number))
        seen.add((protocol, number))
    seen = set()
    for index, port in enumerate(ports):
        protocol, number = port.get("protocol", ""), port.get("port", 0)
        if (protocol, number) in seen:
            causes.append(duplicate(f"spec.ports[{index}]", _go_port(protocol, number)))
        seen.add((protocol, number))
    return causes


def _go_port(protocol: str, port: int) -> Verbatim:
    """Return what upstream shows as a port that stands twice."""
    return Verbatim(
        f'{{"Name":"","Protocol":"{protocol}","AppProtocol":null,"Port":{port},"TargetPort":0,"NodePort":0}}'
    )


def _validate_load_balancer(spec: Object, annotations: Object) -> list[Cause]:
    is_balancer = spec.get("type") == "LoadBalancer"
    causes: list[Cause] = []
    ranges, field = spec.get("loadBalancerSourceRanges"), "spec.LoadBalancerSourceRanges"  # so upstream
    if ranges:
        causes += [] if is_balancer else [forbidden(field, ONLY_LOAD_BALANCER)]
        for index, text in enumerate(ranges):
            causes += all_invalid(f"{field}[{index}]", text.strip(), legacy_cidr(text.strip()))
    elif SOURCE_RANGES in annotations:
        field, said = f"metadata.annotations[{SOURCE_RANGES}]", annotations[SOURCE_RANGES].strip()
        causes += [] if is_balancer else [forbidden(field, ONLY_LOAD_BALANCER)]
        for text in said.split(",") if said else ():
            causes += all_invalid(field, text.strip(), legacy_cidr(text.strip()))
    if spec.get("allocateLoadBalancerNodePorts") is not None and not is_balancer:
        causes.append(forbidden("spec.allocateLoadBalancerNodePorts", ONLY_LOAD_BALANCER))
    return causes + _validate_class(spec)


def _validate_class(spec: Object) -> list[Cause]:
    name, field = spec.get("loadBalancerClass"), "spec.loadBalancerClass"
    if name is None:
        return []
    if spec.get("type") != "LoadBalancer":
        return [forbidden(field, ONLY_LOAD_BALANCER)]
    return all_invalid(field, name, qualified_name(name))


def _validate_policies(spec: Object) -> list[Cause]:
    policy, field = spec.get("externalTrafficPolicy") or "", "spec.externalTrafficPolicy"
    causes: list[Cause] = []
    if is_reached_from_outside(spec):
        causes += validate_enum(policy, field, TRAFFIC)
    elif policy:
        causes.append(invalid(field, policy, "may only be set for externally-accessible services"))
    causes += _validate_health_check(spec)
    internal, field = spec.get("internalTrafficPolicy"), "spec.internalTrafficPolicy"
    if internal is None and needs_cluster_ip(spec):
        causes.append(required(field))
    elif internal is not None and internal not in TRAFFIC:
        causes.append(not_supported(field, internal, TRAFFIC))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in DISTRIBUTIONS:
        causes.append(not_supported("spec.trafficDistribution", distribution, DISTRIBUTIONS))
    return causes


def _validate_health_check(spec: Object) -> list[Cause]:
    port, field = spec.get("healthCheckNodePort") or 0, "spec.healthCheckNodePort"
    if port and not needs_health_check(spec):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        return [invalid(field, port, detail)]
    return all_invalid(field, port, port_number(port)) if port else []


def validate_service_update(new: Object, old: Object) -> list[Cause]:
    """Check that addresses, families, class and health check stay."""
    mine, theirs = new["spec"], old["spec"]
    causes = validate_address_change(mine, theirs)
    if mine.get("type") == theirs.get("type") == "LoadBalancer":
        name = mine.get("loadBalancerClass")
        if name != theirs.get("loadBalancerClass"):
            causes.append(invalid("spec.loadBalancerClass", name, "may not change once set"))
    if needs_health_check(mine) and needs_health_check(theirs):
        port = mine.get("healthCheckNodePort") or 0
        if port != (theirs.get("healthCheckNodePort") or 0):
            causes.append(forbidden("spec.healthCheckNodePort", "field is immutable"))
    return causes


def validate_status_update(new: Object, _old: Object) -> list[Cause]:
    """Check where a load balancer says that it is (ValidateLoadBalancerStatus)."""
    ingress = ((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    field = "status.loadBalancer.ingress"
    if ingress and new["spec"].get("type") != "LoadBalancer":
        return [forbidden(field, "may only be used when `spec.type` is 'LoadBalancer'")]
    return [c for index, entry in enumerate(ingress) for c in _validate_ingress(entry, f"{field}[{index}]")]


def _validate_ingress(entry: Object, path: str) -> list[Cause]:
    address, mode, name = entry.get("ip", ""), entry.get("ipMode"), entry.get("hostname", "")
    causes = all_invalid(f"{path}.ip", address, legacy_ip(address)) if address else []
    if mode is None and address:
        causes.append(required(f"{path}.ipMode", "must be specified when `ip` is set"))
    elif mode is not None and not address:
        causes.append(forbidden(f"{path}.ipMode", "may not be specified when `ip` is not set"))
    elif mode is not None and mode not in IP_MODES:
        causes.append(not_supported(f"{path}.ipMode", mode, IP_MODES))
    if name:
        causes += all_invalid(f"{path}.hostname", name, dns_subdomain(name))
        if find_address(name) is not None:
            causes.append(invalid(f"{path}.hostname", name, "must be a DNS name, not an IP address"))
    return causes
