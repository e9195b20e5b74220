"""Serve the cluster's DNS at its ClusterIP: its own names at once, others by way of the host's resolvers.

The address is on the node's loopback and the sockets are of the node's namespace; this process reads and writes them.
Names come from the informers' caches (dns_records.py). Watches services and endpointslices; writes nothing.
Follows the Kubernetes DNS specification 1.1.0.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast

from proa.network.dns_forward import Forwarder
from proa.network.dns_message import (
    AAAA,
    ANY,
    AXFR,
    BADVERS,
    CNAME,
    FORMERR,
    IN,
    IXFR,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    A,
    MalformedMessage,
    Query,
    Record,
    address_record,
    build_answer,
    build_failure,
    encode_name,
    parse_query,
    read_name,
)
from proa.network.dns_records import TTL_SECONDS, Answer, ClusterZone
from proa.network.protocol import NodeNetwork

logger = logging.getLogger(__name__)

PORT = 53
TCP_IDLE_SECONDS = 10.0
MAX_TCP_CONNECTIONS = 256
MAX_CNAME_STEPS = 8


def service_object(address: str = "10.96.0.10") -> dict[str, Any]:
    """Return the Service kube-system/kube-dns, by which clients find the cluster's DNS; it selects no pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "KubeDNS",
            },
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [
                {"name": "dns", "port": PORT, "protocol": "UDP", "targetPort": PORT},
                {"name": "dns-tcp", "port": PORT, "protocol": "TCP", "targetPort": PORT},
            ],
        },
    }


class Resolver:
    """Packets in, packets out. `is_ready` tells whether the caches are filled: until then, SERVFAIL. `own_names` are
    names besides the zone's, with what returns the IPv4 address of each ("": there is none now)."""

    def __init__(
        self,
        zone: ClusterZone,
        forwarder: Forwarder,
        is_ready: Callable[[], bool],
        own_names: Mapping[str, Callable[[], str]] | None = None,
    ) -> None:
        self._zone = zone
        self._own_names = own_names or {}
        self._forwarder = forwarder
        self._is_ready = is_ready

    def answer_now(self, packet: bytes, *, tcp: bool) -> bytes | Query | None:
        """Return the answer, None for what deserves none, or the Query of a name that others must be asked for."""
        try:
            query = parse_query(packet)
        except MalformedMessage:
            return build_failure(packet, FORMERR)
        if query.opcode != 0:
            return build_answer(query, NOTIMP, is_authoritative=False)
        if query.edns_version > 0:
            return build_answer(query, BADVERS, is_authoritative=False)
        if query.cls != IN or query.type in (AXFR, IXFR):
            return build_answer(query, REFUSED, is_authoritative=False)
        if not self._is_ready():
            return build_answer(query, SERVFAIL, is_authoritative=False)
        answer = self._find(query.name.lower(), query.type)
        if answer is None or any(r.type == CNAME for r in answer.records if query.type != CNAME):
            return query
        return self._encode(query, answer, tcp=tcp)

    async def answer_later(self, query: Query, packet: bytes, *, tcp: bool) -> bytes:
        """Return the answer to a query that `answer_now` gave back."""
        own = self._find(query.name.lower(), query.type)
        if own is not None:
            return self._encode(query, await self._follow(query, own), tcp=tcp)
        answer = await self._forwarder.resolve(query, packet, tcp=tcp)
        if answer is None:
            return build_answer(query, SERVFAIL, is_authoritative=False)
        return answer

    async def close(self) -> None:
        """Ask nobody any more."""
        await self._forwarder.close()

    def _find(self, name: str, type_: int) -> Answer | None:
        if (own := self._own_names.get(name)) is None:
            return self._zone.find(name, type_)
        address = own()
        records = (address_record(name, address, TTL_SECONDS),) if address and type_ in (A, ANY) else ()
        return Answer(NOERROR if address else NXDOMAIN, records)

    def _encode(self, query: Query, answer: Answer, *, tcp: bool) -> bytes:
        negative = () if answer.records else (self._zone.soa(),)
        limit = 65535 if tcp else query.udp_bytes
        return build_answer(query, answer.rcode, answer.records, negative, answer.additional, limit=limit)

    async def _follow(self, query: Query, answer: Answer) -> Answer:
        """Add to an ExternalName's CNAME what it leads to, as a stub resolver expects."""
        records = list(answer.records)
        for _ in range(MAX_CNAME_STEPS):
            target, _ = read_name(records[-1].data, 0)
            found = self._find(target.lower(), query.type)
            if found is None:
                records += await self._ask_others(target, query.type)
                break
            records += found.records
            if not found.records or found.records[-1].type != CNAME:
                break
        return Answer(NOERROR, tuple(records))

    async def _ask_others(self, name: str, type_: int) -> list[Record]:
        query = Query(0, 0x0100, name, type_, IN, 4096)
        answer = await self._forwarder.resolve(query, question_packet(query), tcp=False)
        return read_answers(answer) if answer else []


def question_packet(query: Query) -> bytes:
    """Return the packet that asks a question."""
    head = struct.pack(">6H", query.id, query.flags, 1, 0, 0, 0)
    return head + encode_name(query.name) + struct.pack(">2H", query.type, query.cls)


def read_answers(packet: bytes) -> list[Record]:
    """Return the CNAME and address records of an answer; none where it cannot be read."""
    records = []
    try:
        _, at = read_name(packet, 12)
        at += 4
        for _ in range(struct.unpack_from(">H", packet, 6)[0]):
            name, at = read_name(packet, at)
            kind, _, ttl, length = struct.unpack_from(">HHIH", packet, at)
            data = packet[at + 10 : at + 10 + length]
            if kind == CNAME:
                data = encode_name(read_name(packet, at + 10)[0])
            if kind in (A, AAAA, CNAME):
                records.append(Record(name, kind, ttl, data))
            at += 10 + length
    except (MalformedMessage, struct.error):
        return []
    return records


class DnsServer:
    """The listeners at `address` in the node's namespace."""

    def __init__(self, node_network: NodeNetwork, address: str, resolver: Resolver, port: int = PORT) -> None:
        self._node_network = node_network
        self._address = address
        self._port = port
        self.resolver = resolver
        self._server: asyncio.Server | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections: set[_TcpProtocol] = set()

    async def start(self) -> None:
        """Take the address and listen; raise what NodeNetwork raises."""
        loop = asyncio.get_running_loop()
        await self._node_network.add_addresses([f"{self._address}/32"])
        udp = await self._node_network.open_socket("udp", self._address, self._port)
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _UdpProtocol(self), sock=udp)
        tcp = await self._node_network.open_socket("tcp-listen", self._address, self._port)
        self._server = await loop.create_server(lambda: _TcpProtocol(self), sock=tcp)

    async def stop(self) -> None:
        """Close the listeners and give the address back."""
        if self._udp is not None:
            self._udp.close()
        if self._server is not None:
            self._server.close()
        for connection in [*self.connections]:
            connection.close()
        for task in [*self.tasks]:
            task.cancel()
        await self.resolver.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._node_network.remove_addresses([f"{self._address}/32"])

    def handle(self, packet: bytes, send: Callable[[bytes], None], *, tcp: bool) -> None:
        """Answer a packet by `send`, at once where the answer is known here."""
        answer = self.resolver.answer_now(packet, tcp=tcp)
        if isinstance(answer, Query):
            task = asyncio.ensure_future(self._handle_later(answer, packet, send, tcp=tcp))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif answer is not None:
            send(answer)

    async def _handle_later(
        self, query: Query, packet: bytes, send: Callable[[bytes], None], *, tcp: bool
    ) -> None:
        send(await self.resolver.answer_later(query, packet, tcp=tcp))


class _UdpProtocol(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.handle(data, lambda answer: self._send(answer, addr), tcp=False)

    def _send(self, answer: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)


class _TcpProtocol(asyncio.Protocol):
    """Messages with a length before each; a connection that is idle, or one too many, is closed."""

    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        if len(self._server.connections) > MAX_TCP_CONNECTIONS:
            self._transport.abort()
        self._restart_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        self._restart_timer()
        self._buffer += data
        while len(self._buffer) >= 2:
            length = int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < 2 + length:
                return
            packet, self._buffer = self._buffer[2 : 2 + length], self._buffer[2 + length :]
            self._server.handle(packet, self._send, tcp=True)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(struct.pack(">H", len(answer)) + answer)

    def _restart_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(TCP_IDLE_SECONDS, self.close)
