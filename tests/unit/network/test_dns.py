"""The cluster's names have the records that the DNS specification says, and no packet can hurt the server."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.network.dns import DnsServer, Resolver, read_answers, service_object
from proa.network.dns_forward import Forwarder, lifetime
from proa.network.dns_message import (
    AAAA,
    ANY,
    AXFR,
    CNAME,
    IN,
    NOERROR,
    NS,
    NXDOMAIN,
    PTR,
    REFUSED,
    SERVFAIL,
    SOA,
    SRV,
    TXT,
    A,
    MalformedMessage,
    Query,
    Record,
    build_answer,
    encode_name,
    parse_query,
    read_name,
)
from proa.network.dns_records import (
    CLUSTER_IP_INDEX,
    ENDPOINT_IP_INDEX,
    ClusterZone,
    index_cluster_ips,
    index_endpoint_ips,
)
from proa.objects.resource import ENDPOINT_SLICES, NAMESPACES, SERVICES
from proa.reconcile.informer import Informer
from proa.reconcile.reflector import Scope
from support.etcd import free_port

Object = dict[str, Any]


def make_service(name: str, cluster_ip: str, **spec: Any) -> Object:
    meta = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1"}
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return {"metadata": meta, "spec": {"clusterIP": cluster_ip, "ports": ports, **spec}}


def in_kube_system(name: str) -> Object:
    return {"name": name, "namespace": "kube-system", "uid": name, "resourceVersion": "1"}


def make_slice(service: str, *endpoints: Object) -> Object:
    labels = {"kubernetes.io/service-name": service}
    meta = {
        "name": f"{service}-x",
        "namespace": "shop",
        "uid": f"{service}-x",
        "resourceVersion": "1",
        "labels": labels,
    }
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    return {"metadata": meta, "addressType": "IPv4", "ports": ports, "endpoints": list(endpoints)}


def endpoint(address: str, *, ready: bool = True, hostname: str = "") -> Object:
    made: Object = {"addresses": [address], "conditions": {"ready": ready}}
    return made | ({"hostname": hostname} if hostname else {})


def make_zone() -> ClusterZone:
    services: Informer = Informer(None, Scope(SERVICES))  # type: ignore[arg-type]
    slices: Informer = Informer(None, Scope(ENDPOINT_SLICES))  # type: ignore[arg-type]
    namespaces: Informer = Informer(None, Scope(NAMESPACES))  # type: ignore[arg-type]
    for name in ("shop", "kube-system"):
        namespaces.wrote({"metadata": {"name": name, "uid": name, "resourceVersion": "1"}})
    services.add_index(CLUSTER_IP_INDEX, index_cluster_ips)
    slices.add_index(ENDPOINT_IP_INDEX, index_endpoint_ips)
    for service in (
        make_service("web", "10.96.0.7"),
        make_service("db", "None"),
        make_service("empty", "None"),
        make_service("docs", "", type="ExternalName", externalName="docs.example.com"),
        make_service("dual", "10.96.0.8", clusterIPs=["10.96.0.8", "fd00:10:96::8"]),
        make_service("both", "None"),
        make_service("address", "", type="ExternalName", externalName="192.0.2.9"),
        make_service("kube-dns", "10.96.0.10") | {"metadata": in_kube_system("kube-dns")},
        make_service("proa-gateway", "10.96.0.99") | {"metadata": in_kube_system("proa-gateway")},
        make_service("alias", "", type="ExternalName", externalName="web.shop.svc.cluster.local"),
    ):
        services.wrote(service)
    slices.wrote(make_slice("web", endpoint("10.244.1.9")))
    slices.wrote(
        make_slice(
            "db",
            endpoint("10.244.1.2", hostname="db-0"),
            endpoint("10.244.1.3"),
            endpoint("10.244.1.4", ready=False, hostname="db-2"),
        )
    )
    for family, address in (("IPv4", "10.244.1.6"), ("IPv6", "fd00:10:244:1::6")):
        made = make_slice("both", endpoint(address, hostname="both-0"))
        made["metadata"]["name"] += family
        slices.wrote(made | {"addressType": family})
    slices.wrote(make_slice("empty", endpoint("10.244.1.5", ready=False)))
    return ClusterZone(services, slices, namespaces, "cluster.local")


def spell(record: Record) -> str:
    if record.type == A:
        return socket.inet_ntoa(record.data)
    if record.type == AAAA:
        return socket.inet_ntop(socket.AF_INET6, record.data)
    if record.type == SOA:
        return read_name(record.data, 0)[0]
    if record.type == SRV:
        return f"{struct.unpack('>3H', record.data[:6])[2]} {read_name(record.data, 6)[0]}"
    if record.type == TXT:
        return record.data[1:].decode()
    return read_name(record.data, 0)[0]


SVC = "shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "type_", "rcode", "records"),
    [
        (f"web.{SVC}", A, NOERROR, ["10.96.0.7"]),
        (f"web.{SVC}", AAAA, NOERROR, []),
        (f"dual.{SVC}", A, NOERROR, ["10.96.0.8"]),
        (f"dual.{SVC}", AAAA, NOERROR, ["fd00:10:96::8"]),
        (f"dual.{SVC}", ANY, NOERROR, ["10.96.0.8", "fd00:10:96::8"]),
        (f"both.{SVC}", AAAA, NOERROR, ["fd00:10:244:1::6"]),
        (f"both-0.both.{SVC}", A, NOERROR, ["10.244.1.6"]),
        (f"both-0.both.{SVC}", AAAA, NOERROR, ["fd00:10:244:1::6"]),
        (f"address.{SVC}", A, NXDOMAIN, []),
        (f"web.{SVC}", SRV, NOERROR, [f"80 web.{SVC}"]),
        (f"_http._tcp.web.{SVC}", A, NOERROR, ["10.96.0.7"]),
        (f"10-244-1-9.web.{SVC}", A, NOERROR, ["10.244.1.9"]),
        (f"_http._tcp.both.{SVC}", SRV, NOERROR, [f"8080 both-0.both.{SVC}"]),
        ("cluster.local", SOA, NOERROR, ["ns.dns.cluster.local"]),
        ("cluster.local", NS, NOERROR, ["ns.dns.cluster.local"]),
        ("ns.dns.cluster.local", A, NOERROR, ["10.96.0.10"]),
        ("shop.pod.cluster.local", A, NOERROR, []),
        ("none.pod.cluster.local", A, NXDOMAIN, []),
        ("10-244-1-9.none.pod.cluster.local", A, NXDOMAIN, []),
        ("fd00-10-244-1--6.shop.pod.cluster.local", AAAA, NOERROR, ["fd00:10:244:1::6"]),
        ("9.1.244.10.in-addr.arpa", PTR, NOERROR, [f"10-244-1-9.web.{SVC}"]),
        (ipaddress.ip_address("fd00:10:96::8").reverse_pointer, PTR, NOERROR, [f"dual.{SVC}"]),
        (ipaddress.ip_address("fd00:10:244:1::6").reverse_pointer, PTR, NOERROR, [f"both-0.both.{SVC}"]),
        ("localhost", A, NOERROR, ["127.0.0.1"]),
        ("any.localhost", AAAA, NOERROR, ["::1"]),
        ("web.proa.localhost", A, NOERROR, ["10.96.0.99"]),
        ("web.proa.localhost", AAAA, NOERROR, []),
        (f"db.{SVC}", A, NOERROR, ["10.244.1.2", "10.244.1.3"]),
        (f"db-0.db.{SVC}", A, NOERROR, ["10.244.1.2"]),
        (f"10-244-1-3.db.{SVC}", A, NOERROR, ["10.244.1.3"]),
        (f"db-2.db.{SVC}", A, NXDOMAIN, []),
        (f"empty.{SVC}", A, NXDOMAIN, []),
        (f"docs.{SVC}", CNAME, NOERROR, ["docs.example.com"]),
        (f"_http._tcp.web.{SVC}", SRV, NOERROR, [f"80 web.{SVC}"]),
        (f"_http._udp.web.{SVC}", SRV, NXDOMAIN, []),
        (f"_http._tcp.db.{SVC}", SRV, NOERROR, [f"8080 db-0.db.{SVC}", f"8080 10-244-1-3.db.{SVC}"]),
        (SVC, A, NOERROR, []),
        ("svc.cluster.local", A, NOERROR, []),
        ("none.svc.cluster.local", A, NXDOMAIN, []),
        (f"nope.{SVC}", A, NXDOMAIN, []),
        (f"x.web.{SVC}", A, NXDOMAIN, []),
        (f"pypi.org.{SVC}", A, NXDOMAIN, []),
        ("pypi.org.cluster.local", A, NXDOMAIN, []),
        ("10-244-1-9.shop.pod.cluster.local", A, NOERROR, ["10.244.1.9"]),
        ("10-244-1-999.shop.pod.cluster.local", A, NXDOMAIN, []),
        ("7.0.96.10.in-addr.arpa", PTR, NOERROR, [f"web.{SVC}"]),
        ("2.1.244.10.in-addr.arpa", PTR, NOERROR, [f"db-0.db.{SVC}"]),
        ("dns-version.cluster.local", TXT, NOERROR, ["1.1.0"]),
    ],
)
def test_names_of_the_cluster(name: str, type_: int, rcode: int, records: list[str]) -> None:
    answer = make_zone().find(name, type_)
    assert answer is not None
    assert (answer.rcode, [spell(record) for record in answer.records]) == (rcode, records)


@pytest.mark.parametrize(
    "name",
    [
        "pypi.org",
        "cluster.local.org",
        "9.9.244.10.in-addr.arpa",
        "1.ip6.arpa",
        "xcluster.local",
        "xlocalhost",
    ],
)
def test_other_names_are_not_ours(name: str) -> None:
    assert make_zone().find(name, A) is None


def query_packet(name: str, type_: int = A, *, edns: int = 0) -> bytes:
    head = struct.pack(">6H", 4711, 0x0100, 1, 0, 0, 1 if edns else 0)
    extra = b"\0" + struct.pack(">HHIH", 41, edns, 0, 0) if edns else b""
    return head + encode_name(name) + struct.pack(">2H", type_, IN) + extra


def rcode_of(packet: bytes) -> int:
    return packet[3] & 0xF


@given(st.binary(max_size=600))
def test_any_bytes_are_answered_or_ignored(packet: bytes) -> None:
    resolver = Resolver(make_zone(), Forwarder(list), lambda: True)
    answer = resolver.answer_now(packet, tcp=False)
    assert answer is None or isinstance(answer, bytes | Query)


@given(st.binary(max_size=80), st.sampled_from([A, SRV, PTR]))
def test_any_name_after_a_good_head_is_answered(tail: bytes, type_: int) -> None:
    packet = query_packet(f"web.{SVC}", type_)[:12] + tail
    resolver = Resolver(make_zone(), Forwarder(list), lambda: True)
    assert resolver.answer_now(packet, tcp=False) is not None


def test_pointer_loops_end() -> None:
    for tail in (b"\xc0\x0c\x00\x01\x00\x01", b"\x01a\xc0\x0c\x00\x01\x00\x01", b"\xff\xff\x00\x01\x00\x01"):
        with pytest.raises(MalformedMessage):
            parse_query(struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + tail)


def test_an_answer_over_the_clients_size_is_truncated_by_udp_and_whole_by_tcp() -> None:
    query = parse_query(query_packet("db.shop"))
    records = [Record("db.shop", A, 5, b"\0\0\0\0")] * 40
    short = build_answer(query, NOERROR, records, limit=query.udp_bytes)
    assert len(short) < 512
    assert short[2] & 0x02
    assert len(build_answer(query, NOERROR, records)) > 512
    assert parse_query(query_packet("db.shop", edns=1232)).udp_bytes == 1232


def test_before_the_caches_are_filled_names_fail_softly() -> None:
    resolver = Resolver(make_zone(), Forwarder(list), lambda: False)
    answer = resolver.answer_now(query_packet(f"web.{SVC}"), tcp=False)
    assert isinstance(answer, bytes)
    assert rcode_of(answer) == SERVFAIL


class LoopbackNetwork:
    """A NodeNetwork on the host's own loopback, where all of 127.0.0.0/8 may be listened on."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def open_socket(self, kind: str, host: str = "", port: int = 0) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        if kind == "tcp-listen":
            made.listen()
        made.setblocking(False)
        return made

    async def add_addresses(self, addresses: list[str]) -> None:
        self.addresses += addresses

    async def remove_addresses(self, addresses: list[str]) -> None:
        for address in addresses:
            self.addresses.remove(address)


class Upstream(asyncio.DatagramProtocol):
    """A resolver of the host that knows one address for every name."""

    asked = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        query = parse_query(data)
        self.transport.sendto(
            b"\0\0" + build_answer(query, NXDOMAIN)[2:], addr
        )  # a forged id is not believed
        self.transport.sendto(
            build_answer(query, NOERROR, [Record(query.name, A, 60, b"\x01\x02\x03\x04")]), addr
        )


async def ask(port: int, packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        await loop.sock_sendall(sock, packet)
        async with asyncio.timeout(60):
            return await loop.sock_recv(sock, 4096)


async def ask_tcp(port: int, packet: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    framed = struct.pack(">H", len(packet)) + packet
    writer.write(framed[:5])
    await writer.drain()
    writer.write(framed[5:])
    async with asyncio.timeout(60):
        (length,) = struct.unpack(">H", await reader.readexactly(2))
        answer = await reader.readexactly(length)
    writer.close()
    return answer


def test_the_server_answers_own_names_and_forwards_others_with_a_cache() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        upstream_transport, upstream = await loop.create_datagram_endpoint(
            Upstream, local_addr=("127.0.0.1", 0)
        )
        forwarder = Forwarder(lambda: [upstream_transport.get_extra_info("sockname")])
        network, port = LoopbackNetwork(), free_port()
        server = DnsServer(network, "127.0.0.1", Resolver(make_zone(), forwarder, lambda: True), port)
        await server.start()
        try:
            for asking in (ask, ask_tcp):
                own = await asking(port, query_packet(f"WEB.{SVC}", edns=1232))
                assert [spell(r) for r in read_answers(own)] == ["10.96.0.7"]
                assert own[:2] == struct.pack(">H", 4711)
            for _ in range(3):
                other = await ask(port, query_packet("pypi.org"))
                assert [spell(r) for r in read_answers(other)] == ["1.2.3.4"]
            assert upstream.asked == 1
            chased = read_answers(await ask(port, query_packet(f"docs.{SVC}")))
            assert [spell(r) for r in chased] == ["docs.example.com", "1.2.3.4"]
            chased = read_answers(await ask(port, query_packet(f"alias.{SVC}")))
            assert [spell(r) for r in chased] == [f"web.{SVC}", "10.96.0.7"]
        finally:
            await server.stop()
            upstream_transport.close()
        assert network.addresses == []

    asyncio.run(scenario())


def test_without_resolvers_other_names_fail() -> None:
    async def scenario() -> None:
        resolver = Resolver(make_zone(), Forwarder(list), lambda: True)
        packet = query_packet("pypi.org")
        query = resolver.answer_now(packet, tcp=False)
        assert isinstance(query, Query)
        assert rcode_of(await resolver.answer_later(query, packet, tcp=False)) == SERVFAIL

    asyncio.run(scenario())


def test_the_service_has_no_selector_and_both_ports() -> None:
    spec = service_object()["spec"]
    assert "selector" not in spec
    assert [(p["name"], p["port"], p["protocol"]) for p in spec["ports"]] == [
        ("dns", 53, "UDP"),
        ("dns-tcp", 53, "TCP"),
    ]


def answer_to(packet: bytes) -> bytes:
    answer = Resolver(make_zone(), Forwarder(list), lambda: True).answer_now(packet, tcp=False)
    assert isinstance(answer, bytes)
    return answer


def test_what_is_not_offered_is_refused_in_the_protocols_words() -> None:
    assert rcode_of(answer_to(query_packet("cluster.local", AXFR))) == REFUSED
    newer = bytearray(query_packet(f"web.{SVC}", edns=1232))
    newer[-5] = 1  # the version of EDNS
    answer = answer_to(bytes(newer))
    assert rcode_of(answer) == 0
    assert answer[-6] == 1  # the upper bits of BADVERS


def test_negative_answers_say_for_how_long_they_may_be_kept() -> None:
    answer = answer_to(query_packet(f"nope.{SVC}"))
    assert rcode_of(answer) == NXDOMAIN
    assert lifetime(answer)[0] == 5
    assert lifetime(answer_to(query_packet(f"web.{SVC}", AAAA)))[0] == 5
