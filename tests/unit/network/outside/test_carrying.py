"""Connections and datagrams go on to where they were to go, within bounds, and failures come back.

The node's network is this machine's loopback: a listener's own address stands for a destination.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from proa.network.outside import connections, datagrams, rules
from proa.network.outside.connections import OutsideConnections
from proa.network.outside.datagrams import FlowKey, OutsideDatagrams, port_unreachable, read_destination
from proa.network.sockets import SocketPool


def make_socket(kind: int = socket.SOCK_STREAM) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def test_one_connection_too_many_is_reset_and_there_is_room_again_when_one_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"welcome")
            await accepted.put(writer)
            await reader.read()
            writer.close()

        monkeypatch.setattr(connections, "MAX_CONNECTIONS_A_CLIENT", 2)
        listener = make_socket()
        port = listener.getsockname()[1]
        server = await asyncio.start_server(answer, "127.0.0.2", port)
        relay = OutsideConnections(lambda address: "127.0.0.2" if address == "127.0.0.1" else None)
        await relay.start(listener)

        async def greet() -> tuple[bytes, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            return await reader.read(7), writer

        (_, first), (_, second) = await greet(), await greet()
        with pytest.raises(ConnectionResetError):
            await greet()
        first.close()
        async with asyncio.timeout(60):
            while True:
                try:
                    told, third = await greet()
                    break
                except ConnectionResetError:
                    await asyncio.sleep(0)
        assert told == b"welcome"
        for writer in (second, third):
            writer.close()
        await relay.stop()
        server.close()

    asyncio.run(main())


def test_what_must_not_be_reached_is_reset() -> None:
    async def main() -> None:
        listener = make_socket()
        relay = OutsideConnections(lambda _: None)
        await relay.start(listener)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        await relay.stop()

    asyncio.run(main())


class Errors:
    """An ICMP socket that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []

    def sendto(self, data: bytes, address: Any) -> None:
        self.sent.append((data, address))

    def close(self) -> None:
        pass


class Host:
    """Unbound sockets of this machine."""

    async def open_socket(self, kind: str, host: str = "", port: int = 0) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        return made


def test_flows_are_bounded_and_what_is_refused_is_told() -> None:
    async def main() -> None:
        errors: Any = Errors()
        host: Any = Host()
        pool = SocketPool(host, "transparent-udp")
        relay = OutsideDatagrams(
            lambda address: None if address == "127.0.0.9" else "127.0.0.2", pool, errors
        )
        listener = make_socket(socket.SOCK_DGRAM)
        relay.start(listener)
        relay._take(FlowKey(("127.0.0.1", 4000), ("127.0.0.9", 53)), b"forbidden")
        assert [address for _, address in errors.sent] == [("127.0.0.1", 0)]
        assert relay.flows == 0
        for port in range(datagrams.MAX_FLOWS_A_CLIENT + 5):
            relay._take(FlowKey(("127.0.0.1", 20000 + port), ("127.0.0.1", 9)), b"x")
        assert relay.flows == datagrams.MAX_FLOWS_A_CLIENT
        await relay.stop()
        assert relay.flows == 0
        await pool.close()

    asyncio.run(main())


def test_the_kernels_word_of_a_destination_is_read_and_nothing_else() -> None:
    told = struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", 53, socket.inet_aton("192.0.2.7"))
    assert read_destination([(socket.IPPROTO_IP, 8, b"1234"), (socket.IPPROTO_IP, 20, told)]) == (
        "192.0.2.7",
        53,
    )
    assert read_destination([(socket.IPPROTO_IP, 20, b"short")]) is None
    assert read_destination([]) is None


def test_an_unreachable_port_is_told_with_the_datagram_that_found_it() -> None:
    message = port_unreachable(FlowKey(("10.244.1.2", 4321), ("192.0.2.7", 53)))
    assert message[:2] == bytes((3, 3))
    quoted = message[8:]
    assert quoted[12:20] == socket.inet_aton("10.244.1.2") + socket.inet_aton("192.0.2.7")
    assert struct.unpack_from(">2H", quoted, 20) == (4321, 53)
    total = sum(struct.unpack(f">{len(message) // 2}H", message))
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF


def test_rules_take_traffic_only_where_somebody_listens() -> None:
    opened, closed = rules.plan(["10.244.0.0/16"], 5000, 5001), rules.plan(["10.244.0.0/16"])
    assert len([message for message in opened if b"tproxy" in message.attributes]) == 2
    assert not [message for message in closed if b"tproxy" in message.attributes]
    assert opened[:2] == closed[:2] == rules.TABLE.removal()
