"""Say of a pod what policies must know of it, and which groups it is in. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from proa.client.protocol import Object
from proa.network.policy.compiled import Group, NamedPort, Pods
from proa.objects import meta, pods

FINISHED = ("Succeeded", "Failed")


class PodKey(NamedTuple):
    """A pod."""

    namespace: str
    name: str


class Member(NamedTuple):
    """What an address of a pod is in a group: the address alone, or with a port of that name."""

    address: str
    protocol: str = ""
    port: int = 0

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4


class Pod(NamedTuple):
    """A pod with addresses of its own. `labels` are sorted pairs; `ports` (protocol, name, port)."""

    key: PodKey
    labels: tuple[tuple[str, str], ...]
    addresses: tuple[str, ...]
    ports: tuple[tuple[str, str, int], ...]
    is_local: bool


def read_pod(pod: Object, node_name: str, addresses: Iterable[str] = ()) -> Pod | None:
    """Return what policies know of a pod: None for one on its node's network, one without address, one that is over.

    `addresses` are those that it has before its status says so.
    """
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    told = tuple(entry["ip"] for entry in status.get("podIPs") or ())
    found = told or tuple(filter(None, (status.get("podIP"),))) or tuple(addresses)
    if spec.get("hostNetwork") or not found or pods.phase(pod) in FINISHED:
        return None
    return Pod(
        PodKey(meta.namespace(pod), meta.name(pod)),
        tuple(sorted(meta.labels(pod).items())),
        tuple(str(ipaddress.ip_address(address)) for address in found),
        tuple(_named_ports(pod)),
        pods.node_name(pod) == node_name,
    )


def _named_ports(pod: Object) -> Iterable[tuple[str, str, int]]:
    sidecars = [c for c in pods.init_containers(pod) if pods.is_sidecar(c)]
    for container in (*pods.containers(pod), *sidecars):
        for port in container.get("ports") or ():
            if port.get("name"):
                yield port.get("protocol") or "TCP", port["name"], port["containerPort"]


def is_in(pod: Pod, labels: Mapping[str, str], group: Pods, namespace_labels: Mapping[str, str]) -> bool:
    """Tell whether a group has a pod: `labels` are the pod's, `namespace_labels` its namespace's."""
    if group.namespaces is None:
        return pod.key.namespace == group.namespace and group.pods.matches(labels)
    return group.namespaces.matches(namespace_labels) and group.pods.matches(labels)


def members_of(pod: Pod, group: Group) -> set[Member]:
    """Return what a pod that belongs to a group adds to it."""
    if not isinstance(group, NamedPort):
        return {Member(address) for address in pod.addresses}
    numbers = {port for protocol, name, port in pod.ports if (protocol, name) == group[1:]}
    return {Member(address, group.protocol, port) for address in pod.addresses for port in numbers}
