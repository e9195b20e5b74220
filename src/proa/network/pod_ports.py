"""Say where the ports of the node go that pods take for themselves (hostPort): pure.

Each becomes a service port of its own, of a "service" that no Service can be called (its name has a colon). Without a
hostIP it is taken at every address of the node, as a NodePort is, and on the host where NodePorts are offered; a hostIP
that is a loopback address means the node's own and the host's. What comes by way of loopback is masqueraded, else the
pod sees who asks. Follows the CNI plugin portmap (plugins/meta/portmap) and pkg/kubelet/container/helpers.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from proa.client.protocol import Object
from proa.network.data_path import PROTOCOLS, Endpoint, ServiceKey, ServicePort
from proa.objects import meta
from proa.objects.pods import containers, init_containers, is_sidecar, is_terminated, node_name

PREFIX = "pod:"
LOOPBACK = {"IPv4": "127.0.0.1", "IPv6": "::1"}
_ANY = ("", "0.0.0.0", "::")  # noqa: S104


def key_of(pod: Object) -> ServiceKey:
    """Return under which key a pod's ports are known."""
    return ServiceKey(meta.namespace(pod), PREFIX + meta.name(pod))


def takes_ports(pod: Object | None) -> bool:
    """Tell whether a pod takes ports of its node, by hostPort."""
    return pod is not None and not pod["spec"].get("hostNetwork") and any(True for _ in _ports(pod))


def plan_pod(pod: Object | None, node: str) -> tuple[ServicePort, ...]:
    """Return a pod's ports as the node of that name must provide them; "" is the host around all nodes."""
    if pod is None or not takes_ports(pod) or is_terminated(pod) or (node and node_name(pod) != node):
        return ()
    addresses = [entry["ip"] for entry in (pod.get("status") or {}).get("podIPs") or ()]
    return tuple(
        made
        for number, port in enumerate(_ports(pod))
        for address in addresses
        for made in _plan_port(key_of(pod), f"{number}", port, address, is_node=bool(node))
    )


def _plan_port(
    key: ServiceKey, name: str, port: Object, address: str, *, is_node: bool
) -> Iterator[ServicePort]:
    family = f"IPv{ipaddress.ip_address(address).version}"
    host_ip, number = port.get("hostIP") or "", port["hostPort"]
    protocol = port.get("protocol") or "TCP"
    if protocol not in PROTOCOLS:
        return
    target = (Endpoint(address, port["containerPort"]),)

    def made(
        suffix: str, *, node_port: int, host_addresses: tuple[str, ...], sees_clients: bool
    ) -> ServicePort:
        return ServicePort(
            key, name + suffix, protocol, (), number, node_port, 0, (), target, family,
            is_external_local=sees_clients, cluster_endpoints=target, host_addresses=host_addresses,
        )  # fmt: skip

    if host_ip in _ANY:
        yield made("", node_port=number, host_addresses=(), sees_clients=True)
        if is_node:
            yield made("-loopback", node_port=0, host_addresses=(LOOPBACK[family],), sees_clients=False)
    elif f"IPv{ipaddress.ip_address(host_ip).version}" == family:
        is_loopback = ipaddress.ip_address(host_ip).is_loopback
        yield made("", node_port=0, host_addresses=(host_ip,), sees_clients=not is_loopback)


def _ports(pod: Object) -> Iterator[Object]:
    for container in (*containers(pod), *filter(is_sidecar, init_containers(pod))):
        yield from (port for port in container.get("ports") or () if port.get("hostPort"))
