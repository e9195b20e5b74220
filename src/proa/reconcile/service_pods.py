"""Match Services with the pods behind them: by selector, address and named port.

Shared by the controllers of EndpointSlices and Endpoints. Follows upstream's
staging/src/k8s.io/endpointslice/util/controller_utils.go and pkg/api/v1/pod/util.go (FindPort).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects.meta import is_deleting, labels, name, namespace, uid
from proa.objects.pods import containers, init_containers, is_ready, is_sidecar, is_terminated, pod_ip
from proa.objects.resource import SERVICES
from proa.reconcile.protocol import Cache, Caches, Key

HEADLESS_LABEL = "service.kubernetes.io/headless"


class Port(NamedTuple):
    """One port of a Service as one pod offers it."""

    name: str
    number: int
    protocol: str
    app_protocol: str

    def as_object(self, *, with_empty_name: bool) -> Object:
        """Return it as EndpointPort, which leaves out what is empty (EndpointSlice keeps an empty name)."""
        body: dict[str, Any] = {"port": self.number, "protocol": self.protocol}
        if self.name or with_empty_name:
            body["name"] = self.name
        if self.app_protocol:
            body["appProtocol"] = self.app_protocol
        return body


def pod_reference(pod: Object) -> Object:
    """Return the targetRef of an endpoint: the pod that it is."""
    return {"kind": "Pod", "namespace": namespace(pod), "name": name(pod), "uid": uid(pod)}


def hostname_in(service: Object, pod: Object) -> str:
    """Return the name that the pod has in the Service's domain, "" where it has none."""
    spec = pod["spec"]
    return str(spec.get("hostname") or "") if spec.get("subdomain") == name(service) else ""


def has_selector(service: Object) -> bool:
    """Return whether the Service's endpoints are made from pods, and so by a controller."""
    spec = service["spec"]
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def is_headless(service: Object) -> bool:
    """Return whether the Service has no address of its own on purpose."""
    return bool(service["spec"].get("clusterIP") == "None")


def keys_of_selecting_services(pod: Object, caches: Caches) -> Iterable[Key]:
    """Name the Services that select this pod: for `Watch.find_keys`."""
    services, given = caches(SERVICES), labels(pod)
    for label, value in given.items():
        for service in services.by_index("selector", f"{namespace(pod)}/{label}={value}"):
            if has_selector(service) and service["spec"]["selector"].items() <= given.items():
                yield Key(namespace(service), name(service))


def is_same_for_services(old: Object, new: Object) -> bool:
    """Tell whether a change of a pod is none to its Services: for `Watch.ignores`."""
    return _seen_by_services(old) == _seen_by_services(new)


def _seen_by_services(pod: Object) -> tuple[Any, ...]:
    spec, status = pod["spec"], pod.get("status") or {}
    return (
        labels(pod),
        spec.get("hostname"),
        spec.get("subdomain"),
        spec.get("nodeName"),
        is_deleting(pod),
        is_terminated(pod),
        is_ready(pod),
        status.get("podIP"),
        status.get("podIPs"),
    )


def pods_behind(service: Object, pods: Cache) -> list[Object]:
    """Return the pods that the Service selects and that have an address, terminating ones too."""
    wanted: dict[str, str] = service["spec"]["selector"]
    key, value = next(iter(wanted.items()))
    return [
        pod
        for pod in pods.by_index("label", f"{key}={value}")
        if namespace(pod) == namespace(service)
        and wanted.items() <= labels(pod).items()
        and pod_ip(pod)
        and not is_terminated(pod)
    ]


def families_of(service: Object) -> list[str]:
    """Return the address families that the Service has endpoints of, the first one first."""
    spec = service["spec"]
    if spec.get("ipFamilies"):
        return list(spec["ipFamilies"])
    address = spec.get("clusterIP") or "None"
    return ["IPv4", "IPv6"] if address == "None" else ["IPv6" if ":" in address else "IPv4"]


def addresses_of(pod: Object, family: str) -> list[str]:
    """Return the pod's addresses of a family."""
    status = pod["status"]
    addresses = [entry["ip"] for entry in status.get("podIPs") or [{"ip": status["podIP"]}]]
    return [address for address in addresses if (":" in address) == (family == "IPv6")]


def is_serving(service: Object, pod: Object) -> bool:
    """Return whether new connections may go to the pod."""
    if service["spec"].get("publishNotReadyAddresses"):
        return True
    return is_ready(pod) and not is_deleting(pod)


def ports_of(service: Object, pod: Object) -> tuple[Port, ...]:
    """Return the Service's ports as this pod offers them; one that the pod does not name is left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = _target_port(port, pod)
        if number is not None:
            protocol = port.get("protocol") or "TCP"
            found.append(Port(port.get("name") or "", number, protocol, port.get("appProtocol") or ""))
    return tuple(found)


def _target_port(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    protocol = port.get("protocol") or "TCP"
    sidecars = (container for container in init_containers(pod) if is_sidecar(container))
    for container in [*containers(pod), *sidecars]:
        for offered in container.get("ports") or ():
            if offered.get("name") == target and (offered.get("protocol") or "TCP") == protocol:
                return int(offered["containerPort"])
    return None
