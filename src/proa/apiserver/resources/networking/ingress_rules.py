"""Say what is wrong with an Ingress: hosts, paths, backends, addresses (pkg/apis/networking/validation)."""

from __future__ import annotations

from typing import Any

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    dns_label,
    dns_subdomain,
    invalid,
    not_supported,
    path_segment,
    port_name,
    port_number,
    required,
    wildcard_subdomain,
)
from proa.objects.validation_addresses import find_address, legacy_ip

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
BAD_ENDS = ("/..", "/.")
NOT_A_NAME = "must be a DNS name, not an IP address"


def validate_ingress(ingress: Object, old: Object | None = None) -> list[Cause]:
    """Check rules, the default backend, TLS and the class; what was stored wrong before may stay so."""
    spec = ingress.get("spec") or {}
    old_spec = (old or {}).get("spec") or {}
    causes: list[Cause] = []
    rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and backend is None:
        causes.append(invalid("spec", None, "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        causes += validate_backend(backend, "spec.defaultBackend")
    lenient = any("*" in r.get("host", "") and _validate_http(r, "") for r in old_spec.get("rules") or ())
    for index, rule in enumerate(rules):
        causes += _validate_rule(rule, f"spec.rules[{index}]", lenient=lenient)
    any_secret = any(dns_subdomain(t["secretName"]) for t in old_spec.get("tls") or () if t.get("secretName"))
    for index, tls in enumerate(spec.get("tls") or ()):
        causes += _validate_tls(tls, f"spec.tls[{index}]", any_secret=any_secret)
    name = spec.get("ingressClassName")
    if name is not None:
        causes += all_invalid("spec.ingressClassName", name, dns_subdomain(name))
    return causes


def validate_class_annotation(ingress: Object) -> list[Cause]:
    """Check on create that the old way of naming a class says the same as the new one."""
    noted = meta.annotations(ingress).get(CLASS_ANNOTATION)
    name = (ingress.get("spec") or {}).get("ingressClassName")
    if noted is None or name is None or noted == name:
        return []
    why = "must match `ingressClassName` when both are specified"
    return [invalid(f"annotations.{CLASS_ANNOTATION}", noted, why)]


def _validate_rule(rule: Object, path: str, *, lenient: bool) -> list[Cause]:
    host = rule.get("host", "")
    causes: list[Cause] = []
    if host and find_address(host) is not None:
        causes.append(invalid(f"{path}.host", host, NOT_A_NAME))
    if host:
        causes += _validate_host(host, f"{path}.host")
    if "*" in host and lenient:
        return causes
    return causes + _validate_http(rule, path)


def _validate_host(host: str, field: str) -> list[Cause]:
    return all_invalid(field, host, wildcard_subdomain(host) if "*" in host else dns_subdomain(host))


def _validate_http(rule: Object, path: str) -> list[Cause]:
    http = rule.get("http")
    if http is None:
        return []
    paths = http.get("paths") or []
    causes = [] if paths else [required(f"{path}.http.paths")]
    for index, entry in enumerate(paths):
        causes += _validate_path(entry, f"{path}.http.paths[{index}]")
    return causes


def _validate_path(entry: Object, field: str) -> list[Cause]:
    kind, path = entry.get("pathType"), entry.get("path", "")
    if kind is None:
        return [required(f"{field}.pathType", "pathType must be specified")]
    causes: list[Cause] = []
    if kind not in PATH_TYPES:
        causes.append(not_supported(f"{field}.pathType", kind, PATH_TYPES))
    elif not path.startswith("/") and (path or kind != "ImplementationSpecific"):
        causes.append(invalid(f"{field}.path", path, "must be an absolute path"))
    if kind in ("Exact", "Prefix"):
        causes += [
            invalid(f"{field}.path", path, f"must not contain '{bad}'")
            for bad in BAD_SEQUENCES
            if bad in path
        ]
        causes += [
            invalid(f"{field}.path", path, f"cannot end with '{bad}'")
            for bad in BAD_ENDS
            if path.endswith(bad)
        ]
    return causes + validate_backend(entry.get("backend") or {}, f"{field}.backend")


def validate_backend(backend: Object, path: str) -> list[Cause]:
    """Check that a backend is a service or a resource, and how it is named."""
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return validate_typed_reference(resource, f"{path}.resource")
    if service is None:
        return [invalid(path, "", "resource or service backend is required")]
    name = service.get("name", "")
    causes = (
        all_invalid(f"{path}.service.name", name, dns_label(name))
        if name
        else [required(f"{path}.service.name")]
    )
    return causes + _validate_backend_port(service.get("port") or {}, path)


def _validate_backend_port(port: Object, path: str) -> list[Cause]:
    name, number = port.get("name", ""), port.get("number", 0)
    if name and number:
        return [invalid(path, "", "cannot set both port name & port number")]
    if name:
        return all_invalid(f"{path}.service.port.name", name, port_name(name))
    if number:
        return all_invalid(f"{path}.service.port.number", number, port_number(number))
    return [required(path, "port name or number is required")]


def validate_typed_reference(reference: Object, path: str) -> list[Cause]:
    """Check the group, kind and name of an object."""
    causes: list[Cause] = []
    group = reference.get("apiGroup")
    if group is not None:
        causes += all_invalid(f"{path}.apiGroup", group, dns_subdomain(group))
    for key in ("kind", "name"):
        value = reference.get(key, "")
        field = f"{path}.{key}"
        causes += all_invalid(field, value, path_segment(value)) if value else [required(field)]
    return causes


def _validate_tls(tls: Object, path: str, *, any_secret: bool) -> list[Cause]:
    causes: list[Cause] = []
    for index, host in enumerate(tls.get("hosts") or ()):
        causes += _validate_host(host, f"{path}.hosts[{index}]")
    secret = tls.get("secretName")
    if secret and not any_secret:
        causes += all_invalid(f"{path}.secretName", secret, dns_subdomain(secret))
    return causes


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check the addresses at which the Ingress is reached."""
    had = {entry.get("ip") for entry in _points(old)}
    causes: list[Cause] = []
    for index, entry in enumerate(_points(new)):
        path = f"status.loadBalancer.ingress[{index}]"
        address, hostname = entry.get("ip"), entry.get("hostname")
        if address and address not in had:
            causes += all_invalid(f"{path}.ip", address, legacy_ip(address))
        if hostname:
            causes += all_invalid(f"{path}.hostname", hostname, dns_subdomain(hostname))
            if find_address(hostname) is not None:
                causes.append(invalid(f"{path}.hostname", hostname, NOT_A_NAME))
    return causes


def _points(ingress: Object) -> list[dict[str, Any]]:
    balancer = (ingress.get("status") or {}).get("loadBalancer") or {}
    return balancer.get("ingress") or []
