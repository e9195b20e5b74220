"""Answer names of the cluster's zone from the informers' caches, by index: nothing is rebuilt when objects change.

Follows the Kubernetes DNS specification (github.com/kubernetes/dns/blob/master/docs/specification.md, version 1.1.0)
and, where that says nothing, CoreDNS's kubernetes plugin with `pods insecure`. Names below `localhost` are answered
here too (RFC 6761): those below `proa.localhost` are the gateway's, as they are on the host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from proa.client.protocol import Object
from proa.network.data_path import SERVICE_NAME_LABEL, ServiceKey, cluster_ips, service_of
from proa.network.dns_message import (
    ANY,
    CNAME,
    NOERROR,
    NXDOMAIN,
    SRV,
    Record,
    address_record,
    cname_record,
    ns_record,
    ptr_record,
    soa_record,
    srv_record,
    txt_record,
)
from proa.objects import meta
from proa.objects.quick_dataclass import dataclass
from proa.reconcile.protocol import Cache

TTL_SECONDS = 5
SPECIFICATION_VERSION = "1.1.0"
CLUSTER_IP_INDEX = "dns cluster IP"
ENDPOINT_IP_INDEX = "dns endpoint IP"
DNS_SERVICE = ServiceKey("kube-system", "kube-dns")
GATEWAY_SERVICE = ServiceKey("kube-system", "proa-gateway")
GATEWAY_ZONE = "proa.localhost"
LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name has: NXDOMAIN, or NOERROR with the records of the type asked for (none: NODATA)."""

    rcode: int
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()


class _Host(NamedTuple):
    """One endpoint of a service: its label below the service's name, and its address."""

    label: str
    address: str


class _Target(NamedTuple):
    """What an SRV record names."""

    port: int
    name: str


NO_NAME = Answer(NXDOMAIN)
NO_DATA = Answer(NOERROR)


def index_cluster_ips(service: Object) -> Iterable[str]:
    """Return the values to find a service under by CLUSTER_IP_INDEX."""
    return map(_canonical, cluster_ips(service))


def index_endpoint_ips(slice_: Object) -> Iterable[str]:
    """Return the values to find an EndpointSlice under by ENDPOINT_IP_INDEX."""
    if slice_.get("addressType") == "FQDN":
        return ()
    return {_canonical(a) for endpoint in slice_.get("endpoints") or () for a in endpoint["addresses"]}


class ClusterZone:
    """The zone `cluster.local` (or as named). The caches of services and slices have the two indexes above."""

    def __init__(self, services: Cache, slices: Cache, namespaces: Cache, zone: str, serial: int = 1) -> None:
        self.zone = zone
        self._services = services
        self._slices = slices
        self._namespaces = namespaces
        self._serial = serial

    def soa(self) -> Record:
        """Return the record that negative answers carry."""
        return soa_record(self.zone, TTL_SECONDS, self._serial)

    def find(self, name: str, type_: int) -> Answer | None:
        """Return the answer for a name in lower case, None where it is not of this zone."""
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return self._find_reverse(name, type_)
        if name == "localhost" or name.endswith(".localhost"):
            return self._find_local(name, type_)
        if name == self.zone:
            return _answer([self.soa(), ns_record(name, f"ns.dns.{name}", TTL_SECONDS)], type_)
        if not name.endswith(f".{self.zone}"):
            return None
        match name.removesuffix(f".{self.zone}").split("."):
            case ["dns-version"]:
                return _answer([txt_record(name, SPECIFICATION_VERSION, TTL_SECONDS)], type_)
            case ["ns", "dns"]:
                return _addresses(name, self._cluster_ips(DNS_SERVICE), type_)
            case ["dns" | "svc" | "pod"]:
                return NO_DATA
            case [label, namespace, "pod"]:
                return self._find_pod(name, label, namespace, type_)
            case [namespace, "svc" | "pod"]:
                return NO_DATA if self._has_namespace(namespace) else NO_NAME
            case [*below, service, namespace, "svc"]:
                return self._find_service(name, below, ServiceKey(namespace, service), type_)
            case _:
                return NO_NAME

    def _has_namespace(self, name: str) -> bool:
        return self._namespaces.get(name) is not None

    def _cluster_ips(self, key: ServiceKey) -> tuple[str, ...]:
        service = self._services.get(key.name, key.namespace)
        return cluster_ips(service) if service is not None else ()

    def _find_local(self, name: str, type_: int) -> Answer:
        if name != GATEWAY_ZONE and not name.endswith(f".{GATEWAY_ZONE}"):
            return _addresses(name, LOOPBACK, type_)
        return _addresses(name, self._cluster_ips(GATEWAY_SERVICE), type_)

    def _find_pod(self, name: str, label: str, namespace: str, type_: int) -> Answer:
        """A pod's record says no more than its name: whether there is such a pod is not looked up."""
        is_old = label.count("-") == 3 and "--" not in label
        address = _canonical(label.replace("-", "." if is_old else ":"))
        if not address or not self._has_namespace(namespace):
            return NO_NAME
        return _addresses(name, [address], type_)

    def _find_service(self, name: str, below: list[str], key: ServiceKey, type_: int) -> Answer:
        service = self._services.get(key.name, key.namespace)
        if service is None:
            return NO_NAME
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            return _external(name, str(spec.get("externalName") or ""), type_) if not below else NO_NAME
        match below:
            case []:
                found = cluster_ips(service) or tuple(dict.fromkeys(h.address for h in self._hosts(key)))
                if type_ == SRV and found:
                    return self._find_ports(key, service, "", "", type_)
                return _addresses(name, found, type_)
            case [port, protocol] if port.startswith("_") and protocol.startswith("_"):
                return self._find_ports(key, service, port[1:], protocol[1:], type_, name)
            case [label]:
                found = tuple(sorted({host.address for host in self._hosts(key) if host.label == label}))
                return _addresses(name, found, type_)
            case _:
                return NO_NAME

    def _find_ports(
        self, key: ServiceKey, service: Object, port: str, protocol: str, type_: int, name: str = ""
    ) -> Answer:
        """Return the SRV records of a port ("": of all), or the addresses that the service has at it."""
        base = f"{key.name}.{key.namespace}.svc.{self.zone}"
        targets: dict[_Target, list[str]] = {}
        if addresses := cluster_ips(service):
            for entry in (service.get("spec") or {}).get("ports") or ():
                if _is_port(entry, port, protocol):
                    targets[_Target(entry["port"], base)] = [*addresses]
        else:
            for host, number in self._hosts_of_port(key, port, protocol):
                targets.setdefault(_Target(number, f"{host.label}.{base}"), []).append(host.address)
        if not targets:
            return NO_NAME
        if type_ not in (SRV, ANY):
            found = dict.fromkeys(address for addresses_ in targets.values() for address in addresses_)
            return _addresses(name, found, type_)
        owner = name or base
        weight = max(1, 100 // len(targets))
        records = tuple(srv_record(owner, t.port, t.name, TTL_SECONDS, weight) for t in targets)
        extra = dict.fromkeys((t.name, a) for t, addresses_ in targets.items() for a in addresses_)
        return Answer(NOERROR, records, tuple(address_record(*pair, TTL_SECONDS) for pair in extra))

    def _find_reverse(self, name: str, type_: int) -> Answer | None:
        address = read_reverse(name)
        if not address:
            return None
        for service in self._services.by_index(CLUSTER_IP_INDEX, address):
            target = f"{meta.name(service)}.{meta.namespace(service)}.svc.{self.zone}"
            return _answer([ptr_record(name, target, TTL_SECONDS)], type_)
        targets = []
        for slice_ in self._slices.by_index(ENDPOINT_IP_INDEX, address):
            key = service_of(slice_)
            if key is None or self._services.get(key.name, key.namespace) is None:
                continue
            targets += [
                f"{host.label}.{key.name}.{key.namespace}.svc.{self.zone}"
                for host in _ready_hosts(slice_)
                if host.address == address
            ]
        dashed = f"{_label_of(address)}."
        targets.sort(key=lambda target: target.startswith(dashed))  # first the names that somebody chose
        records = [ptr_record(name, target, TTL_SECONDS) for target in dict.fromkeys(targets)]
        return _answer(records, type_) if records else None

    def _slices_of(self, key: ServiceKey) -> Iterator[Object]:
        for slice_ in self._slices.by_index("label", f"{SERVICE_NAME_LABEL}={key.name}"):
            if meta.namespace(slice_) == key.namespace and slice_.get("addressType") != "FQDN":
                yield slice_

    def _hosts(self, key: ServiceKey) -> Iterator[_Host]:
        for slice_ in self._slices_of(key):
            yield from _ready_hosts(slice_)

    def _hosts_of_port(self, key: ServiceKey, name: str, protocol: str) -> Iterator[tuple[_Host, int]]:
        for slice_ in self._slices_of(key):
            for port in slice_.get("ports") or ():
                if port.get("port") and _is_port(port, name, protocol):
                    for host in _ready_hosts(slice_):
                        yield host, port["port"]


def read_reverse(name: str) -> str:
    """Return the address that a name below in-addr.arpa or ip6.arpa is for, "" where it is for none."""
    if name.endswith(".in-addr.arpa"):
        return _canonical(".".join(reversed(name.removesuffix(".in-addr.arpa").split("."))))
    digits = name.removesuffix(".ip6.arpa").split(".")
    if len(digits) != 32 or any(len(digit) != 1 for digit in digits):
        return ""
    text = "".join(reversed(digits))
    return _canonical(":".join(text[at : at + 4] for at in range(0, 32, 4)))


def _canonical(address: str) -> str:
    """Return an address in its one form, "" for what is none."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return ""


def _is_port(port: Object, name: str, protocol: str) -> bool:
    """Tell whether a port is the one asked for; "" is any."""
    is_named = not name or (port.get("name") or "").lower() == name
    return is_named and (not protocol or (port.get("protocol") or "TCP").lower() == protocol)


def _ready_hosts(slice_: Object) -> Iterator[_Host]:
    for endpoint in slice_.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready") is False:
            continue
        for address in endpoint["addresses"]:
            found = _canonical(address)
            yield _Host((endpoint.get("hostname") or _label_of(found)).lower(), found)


def _label_of(address: str) -> str:
    """Return an address as a label: no label ends with a hyphen."""
    label = address.replace(".", "-").replace(":", "-")
    return f"{label}0" if label.endswith("-") else label


def _external(name: str, target: str, type_: int) -> Answer:
    if not target or _canonical(target):
        return NO_NAME  # an address is nothing that a CNAME could name
    return _answer([cname_record(name, target.rstrip("."), TTL_SECONDS)], type_ if type_ == ANY else CNAME)


def _addresses(name: str, addresses: Iterable[str], type_: int) -> Answer:
    """Return an answer of A and AAAA records; a name without any is none."""
    records = [address_record(name, address, TTL_SECONDS) for address in addresses]
    return _answer(records, type_) if records else NO_NAME


def _answer(records: list[Record], type_: int) -> Answer:
    if type_ == ANY:
        return Answer(NOERROR, tuple(records))
    return Answer(NOERROR, tuple(record for record in records if record.type == type_))
