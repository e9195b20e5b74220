"""Warn of what a Service says to no effect, or in another way than it should: pkg/api/service/warnings.go."""

from __future__ import annotations

from collections.abc import Iterator

from proa.client.protocol import Object
from proa.objects.validation_addresses import cidr_warnings, ip_warnings

_HINTS, _MODE = (f"service.kubernetes.io/{name}" for name in ("topology-aware-hints", "topology-mode"))


def service_warnings(service: Object, old: Object | None) -> list[str]:
    """Return what to warn of."""
    return [*_warnings(service["metadata"].get("annotations") or {}, service.get("spec") or {})]


def _warnings(annotations: Object, spec: Object) -> Iterator[str]:
    kind, is_headless = spec.get("type"), spec.get("clusterIP") == "None" and spec.get("type") == "ClusterIP"
    external, balancer = spec.get("externalIPs") or (), spec.get("loadBalancerIP")
    if _HINTS in annotations:
        yield f"annotation {_HINTS} is deprecated, please use {_MODE} instead"
    if spec.get("clusterIP") not in (None, "", "None"):
        for index, address in enumerate(spec.get("clusterIPs") or ()):
            yield from ip_warnings(f"spec.clusterIPs[{index}]", address)
    if is_headless:
        ignored = {"loadBalancerIP": balancer, "externalIPs": external}
        ignored["SessionAffinity"] = spec.get("sessionAffinity") != "None"
        yield from (f"spec.{name} is ignored for headless services" for name, said in ignored.items() if said)
    for index, address in enumerate(external):
        yield from ip_warnings(f"spec.externalIPs[{index}]", address)
    if external and not is_headless and kind != "ExternalName":
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if balancer:
        yield from ip_warnings("spec.loadBalancerIP", balancer)
    for index, cidr in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        yield from cidr_warnings(f"spec.loadBalancerSourceRanges[{index}]", cidr.strip())
    if kind == "ExternalName" and external:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if kind != "ExternalName" and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'
