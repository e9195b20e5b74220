"""Carry datagrams of pods to other networks, and the answers back, as from where they were sent to.

Theory of operation. The first datagram of a flow (a client's address and port, a destination's) arrives at one socket
for all, beside which the kernel says where it was to go. The flow then gets two sockets of its own: `inside`, bound to
the destination's address and connected to the client, which takes all that follows; and `outside`, of the host's. A
flow ends after some silence, or when its destination refuses: the client then hears so as from a router (RFC 792).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from proa.network.sockets import SocketPool

logger = logging.getLogger(__name__)

UNANSWERED_SECONDS = 30.0
IDLE_SECONDS = 120.0
SWEEP_SECONDS = 10.0
MAX_FLOWS = 2048
MAX_FLOWS_A_CLIENT = 512
MAX_WAITING = 16
DATAGRAMS_A_TURN = 64
_IP_ORIGDSTADDR = 20
_ANCILLARY_BYTES = 256

Address = tuple[str, int]


class FlowKey(NamedTuple):
    """A flow."""

    client: Address
    destination: Address


class OutsideDatagrams:
    """`find` is as in OutsideConnections; `sockets` has transparent UDP sockets of the node's namespace, in which
    `errors` sends ICMP."""

    def __init__(self, find: Callable[[str], str | None], sockets: SocketPool, errors: socket.socket) -> None:
        self._find = find
        self._sockets = sockets
        self._errors = errors
        self._listener: socket.socket | None = None
        self._flows: dict[FlowKey, _Flow] = {}
        self._clients: Counter[str] = Counter()
        self._sweep: asyncio.TimerHandle | None = None

    def start(self, listener: socket.socket) -> None:
        """Receive from `listener`, which is ours from now on."""
        self._listener = listener
        loop = asyncio.get_running_loop()
        loop.add_reader(listener.fileno(), self._receive)
        self._sweep = loop.call_later(SWEEP_SECONDS, self._drop_idle)

    async def stop(self) -> None:
        """Close the listener and end every flow."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
        opening = [flow.opening for flow in self._flows.values() if flow.opening is not None]
        for flow in [*self._flows.values()]:
            flow.end()
        await asyncio.gather(*opening, return_exceptions=True)
        self._errors.close()

    @property
    def flows(self) -> int:
        """Return how many flows are open."""
        return len(self._flows)

    def _receive(self) -> None:
        for _ in range(DATAGRAMS_A_TURN):
            if self._listener is None:
                return
            try:
                data, ancillary, _, client = self._listener.recvmsg(65535, _ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            if (destination := read_destination(ancillary)) is not None:
                self._take(FlowKey(client[:2], destination), data)

    def _take(self, key: FlowKey, data: bytes) -> None:
        flow = self._flows.get(key)
        if flow is None:
            target = self._find(key.destination[0])
            client = key.client[0]
            if len(self._flows) >= MAX_FLOWS or self._clients[client] >= MAX_FLOWS_A_CLIENT:
                return
            if target is None:
                self._refuse(key)
                return
            flow = _Flow(key, lambda: self._forget(key), lambda: self._refuse(key))
            self._flows[key] = flow
            self._clients[client] += 1
            flow.opening = asyncio.ensure_future(flow.open((target, key.destination[1]), self._sockets))
        flow.send_out(data)

    def _forget(self, key: FlowKey) -> None:
        if self._flows.pop(key, None) is not None:
            client = key.client[0]
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def _refuse(self, key: FlowKey) -> None:
        with contextlib.suppress(OSError):  # the client is gone, or the socket's buffer is full
            self._errors.sendto(port_unreachable(key), (key.client[0], 0))

    def _drop_idle(self) -> None:
        loop = asyncio.get_running_loop()
        for flow in [*self._flows.values()]:
            if loop.time() > flow.last_used + (IDLE_SECONDS if flow.is_answered else UNANSWERED_SECONDS):
                flow.end()
        self._sweep = loop.call_later(SWEEP_SECONDS, self._drop_idle)


def read_destination(ancillary: list[tuple[int, int, bytes]]) -> Address | None:
    """Return where a datagram was sent to, as the kernel tells it beside the datagram."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_ORIGDSTADDR and len(data) >= 8:
            (port,) = struct.unpack_from(">H", data, 2)
            return socket.inet_ntoa(data[4:8]), port
    return None


def port_unreachable(key: FlowKey) -> bytes:
    """Return the ICMP message that tells a client that nobody takes what it sends (type 3, code 3)."""
    addresses = socket.inet_aton(key.client[0]) + socket.inet_aton(key.destination[0])
    quoted = struct.pack(">BBHHHBBH", 0x45, 0, 28, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    quoted += struct.pack(">HHHH", key.client[1], key.destination[1], 8, 0)
    message = struct.pack(">BBHI", 3, 3, 0, 0) + quoted
    total = sum(struct.unpack(f">{len(message) // 2}H", message))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return message[:2] + struct.pack(">H", checksum) + message[4:]


class _Flow:
    """One client's datagrams to one destination."""

    def __init__(self, key: FlowKey, on_end: Callable[[], None], on_refused: Callable[[], None]) -> None:
        self._on_refused = on_refused
        self.key = key
        self.last_used = asyncio.get_running_loop().time()
        self.is_answered = False
        self.opening: asyncio.Task[None] | None = None
        self._on_end = on_end
        self._inside: asyncio.DatagramTransport | None = None
        self._outside: asyncio.DatagramTransport | None = None
        self._waiting: list[bytes] = []
        self._has_ended = False

    async def open(self, target: Address, sockets: SocketPool) -> None:
        """Make both sockets, and send what has come meanwhile."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        free: list[socket.socket] = []
        try:
            inside = await sockets.take()
            free.append(inside)
            inside.bind(self.key.destination)
            inside.connect(self.key.client)
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Side(self.send_out, self.end), sock=inside
            )
            free.clear()
            self._inside = transport
            outside = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            free.append(outside)
            outside.connect(target)
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Side(self.send_in, self._outside_failed), sock=outside
            )
            free.clear()
            self._outside = transport
        except BaseException as error:
            for sock in free:
                sock.close()
            self.end()
            if not isinstance(error, Exception):
                raise
            logger.debug("no way out for datagrams to=%s error=%s", self.key.destination, error)
            return
        if self._has_ended:
            self._close()
            return
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self.send_out(data)

    def send_out(self, data: bytes) -> None:
        """Send a client's datagram on its way."""
        self.last_used = asyncio.get_running_loop().time()
        if self._outside is not None and not self._outside.is_closing():
            self._outside.sendto(data)
        elif self._outside is None and len(self._waiting) < MAX_WAITING:
            self._waiting.append(data)

    def send_in(self, data: bytes) -> None:
        """Send an answer back."""
        self.last_used = asyncio.get_running_loop().time()
        self.is_answered = True
        if self._inside is not None and not self._inside.is_closing():
            self._inside.sendto(data)

    def _outside_failed(self) -> None:
        if not self._has_ended:
            self._on_refused()
        self.end()

    def end(self) -> None:
        """Close both sockets."""
        if not self._has_ended:
            self._has_ended = True
            self._on_end()
            self._close()

    def _close(self) -> None:
        for transport in (self._inside, self._outside):
            if transport is not None:
                transport.close()


class _Side(asyncio.DatagramProtocol):
    def __init__(self, on_data: Callable[[bytes], None], on_failure: Callable[[], None]) -> None:
        self._on_data = on_data
        self._on_failure = on_failure

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._on_data(data)

    def error_received(self, exc: Exception) -> None:
        self._on_failure()
