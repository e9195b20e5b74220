"""Answer names of the cluster's zone from the informers' caches, by index: nothing is rebuilt when objects change.

Follows the Kubernetes DNS specification (github.com/kubernetes/dns/blob/master/docs/specification.md, version 1.1.0)
and CoreDNS's kubernetes plugin with `pods insecure` for `a-b-c-d.namespace.pod` names.
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
    a_record,
    cname_record,
    ptr_record,
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name has: NXDOMAIN, or NOERROR with the records of the type asked for (none: NODATA)."""

    rcode: int
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()


class _Host(NamedTuple):
    """One endpoint of a headless service: its address, and its label below the service's name."""

    label: str
    address: str


NO_NAME = Answer(NXDOMAIN)


def index_cluster_ips(service: Object) -> Iterable[str]:
    """Return the values to find a service under by CLUSTER_IP_INDEX."""
    return cluster_ips(service)


def index_endpoint_ips(slice_: Object) -> Iterable[str]:
    """Return the values to find an EndpointSlice under by ENDPOINT_IP_INDEX."""
    return {address for endpoint in slice_.get("endpoints") or () for address in endpoint["addresses"]}


class ClusterZone:
    """The zone `cluster.local` (or as named). The caches have the two indexes above."""

    def __init__(self, services: Cache, slices: Cache, zone: str) -> None:
        self.zone = zone
        self._services = services
        self._slices = slices

    def find(self, name: str, type_: int) -> Answer | None:
        """Return the answer for a name in lower case, None where it is not of this zone."""
        if name.endswith(".in-addr.arpa"):
            return self._find_reverse(name, type_)
        if name == self.zone:
            return Answer(NOERROR)
        if not name.endswith(f".{self.zone}"):
            return None
        labels = name.removesuffix(f".{self.zone}").split(".")
        match labels:
            case ["dns-version"]:
                return _answer([txt_record(name, SPECIFICATION_VERSION, TTL_SECONDS)], type_)
            case ["svc" | "pod"]:
                return Answer(NOERROR)
            case [address, _, "pod"]:
                return _pod(name, address, type_)
            case [_, "pod"]:
                return Answer(NOERROR)
            case [namespace, "svc"]:
                return Answer(NOERROR) if self._services.by_index("namespace", namespace) else NO_NAME
            case [*below, service, namespace, "svc"]:
                return self._find_service(name, below, ServiceKey(namespace, service), type_)
            case _:
                return NO_NAME

    def _find_service(self, name: str, below: list[str], key: ServiceKey, type_: int) -> Answer:
        service = self._services.get(key.name, key.namespace)
        if service is None:
            return NO_NAME
        spec = service.get("spec") or {}
        if spec.get("type") == "ExternalName":
            if below:
                return NO_NAME
            target = str(spec.get("externalName") or "").rstrip(".")
            return _answer([cname_record(name, target, TTL_SECONDS)], type_ if type_ == CNAME else CNAME)
        addresses = cluster_ips(service)
        match below:
            case []:
                hosts = addresses or tuple(dict.fromkeys(host.address for host in self._hosts(key)))
                if not hosts:
                    return NO_NAME
                return _answer([a_record(name, address, TTL_SECONDS) for address in hosts], type_)
            case [port, protocol] if port.startswith("_") and protocol.startswith("_"):
                return self._find_ports(name, key, service, port[1:], protocol[1:], type_)
            case [label] if not addresses:
                found = {host.address for host in self._hosts(key) if host.label == label}
                records = [a_record(name, address, TTL_SECONDS) for address in sorted(found)]
                return _answer(records, type_) if records else NO_NAME
            case _:
                return NO_NAME

    def _find_ports(
        self, name: str, key: ServiceKey, service: Object, port: str, protocol: str, type_: int
    ) -> Answer:
        base = f"{key.name}.{key.namespace}.svc.{self.zone}"
        targets: dict[tuple[str, int], str] = {}
        if addresses := cluster_ips(service):
            for spec in (service.get("spec") or {}).get("ports") or ():
                if spec.get("name") == port and (spec.get("protocol") or "TCP").lower() == protocol:
                    targets[base, spec["port"]] = addresses[0]
        else:
            for host, number in self._hosts_of_port(key, port, protocol):
                targets[f"{host.label}.{base}", number] = host.address
        if not targets:
            return NO_NAME
        if type_ not in (SRV, ANY):
            return Answer(NOERROR)
        weight = max(1, 100 // len(targets))
        records = tuple(srv_record(name, number, host, TTL_SECONDS, weight) for host, number in targets)
        extra = tuple(a_record(host, address, TTL_SECONDS) for (host, _), address in targets.items())
        return Answer(NOERROR, records, extra)

    def _find_reverse(self, name: str, type_: int) -> Answer | None:
        address = ".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))
        if not _is_ipv4(address):
            return None
        for service in self._services.by_index(CLUSTER_IP_INDEX, address):
            target = f"{meta.name(service)}.{meta.namespace(service)}.svc.{self.zone}"
            return _answer([ptr_record(name, target, TTL_SECONDS)], type_)
        targets = []
        for slice_ in self._slices.by_index(ENDPOINT_IP_INDEX, address):
            key = service_of(slice_)
            service_ = self._services.get(key.name, key.namespace) if key else None
            if key is None or service_ is None or cluster_ips(service_):
                continue
            targets += [
                f"{host.label}.{key.name}.{key.namespace}.svc.{self.zone}"
                for host in _ready_hosts(slice_)
                if host.address == address
            ]
        records = [ptr_record(name, target, TTL_SECONDS) for target in dict.fromkeys(targets)]
        return _answer(records, type_) if records else None

    def _slices_of(self, key: ServiceKey) -> Iterator[Object]:
        for slice_ in self._slices.by_index("label", f"{SERVICE_NAME_LABEL}={key.name}"):
            if meta.namespace(slice_) == key.namespace and slice_.get("addressType") == "IPv4":
                yield slice_

    def _hosts(self, key: ServiceKey) -> Iterator[_Host]:
        for slice_ in self._slices_of(key):
            yield from _ready_hosts(slice_)

    def _hosts_of_port(self, key: ServiceKey, name: str, protocol: str) -> Iterator[tuple[_Host, int]]:
        for slice_ in self._slices_of(key):
            for port in slice_.get("ports") or ():
                if (
                    port.get("name") == name
                    and (port.get("protocol") or "TCP").lower() == protocol
                    and port.get("port")
                ):
                    for host in _ready_hosts(slice_):
                        yield host, port["port"]


def _ready_hosts(slice_: Object) -> Iterator[_Host]:
    for endpoint in slice_.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready") is False:
            continue
        for address in endpoint["addresses"]:
            yield _Host((endpoint.get("hostname") or address.replace(".", "-")).lower(), address)


def _pod(name: str, label: str, type_: int) -> Answer:
    address = label.replace("-", ".")
    return _answer([a_record(name, address, TTL_SECONDS)], type_) if _is_ipv4(address) else NO_NAME


def _answer(records: list[Record], type_: int) -> Answer:
    if type_ == ANY:
        return Answer(NOERROR, tuple(records))
    return Answer(NOERROR, tuple(record for record in records if record.type == type_))


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
