"""Match Services with the pods behind them: by selector, address and named port.

Shared by the controllers of EndpointSlices and Endpoints. Follows upstream's
staging/src/k8s.io/endpointslice/util/controller_utils.go and pkg/api/v1/pod/util.go (FindPort).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from proa.client.protocol import Object
from proa.objects.meta import is_deleting, labels, name, namespace
from proa.objects.pods import containers, init_containers, is_ready, is_sidecar, is_terminated, pod_ip
from proa.objects.resource import SERVICES
from proa.objects.selectors import selector_from_labels
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


def has_selector(service: Object) -> bool:
    """Return whether the Service's endpoints are made from pods, and so by a controller."""
    spec = service["spec"]
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def is_headless(service: Object) -> bool:
    """Return whether the Service has no address of its own on purpose."""
    return bool(service["spec"].get("clusterIP") == "None")


def keys_of_selecting_services(pod: Object, caches: Caches) -> Iterable[Key]:
    """Name the Services that select this pod: for `Watch.find_keys`."""
    return [
        Key(namespace(service), name(service))
        for service in caches(SERVICES).list(namespace(pod))
        if has_selector(service) and selector_from_labels(service["spec"]["selector"]).matches(labels(pod))
    ]


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
