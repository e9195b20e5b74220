"""Carry a connection or a datagram conversation from a listener to an endpoint, at low cost a byte.

Theory of operation. `Inbound` and `Outbound` are asyncio Protocols that write what they receive straight to each
other's transport. Backpressure: when a transport's buffer is full, reading from its peer pauses. Half-close: an end
of file on one side is passed on and the other direction goes on; when both have ended, both transports close.
A reset on one side resets the other.
A connection that cannot be made is tried on the service's other endpoints before the client hears of it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Collection
from typing import cast

from proa.network.balancer import Balancer
from proa.network.data_path import Endpoint
from proa.network.sockets import SocketPool

logger = logging.getLogger(__name__)

CONNECT_TIMEOUTS_SECONDS = (0.3, 3.0)
UDP_IDLE_SECONDS = 60.0
MAX_UDP_CLIENTS = 4096
BACKLOG = 1024


class _Side(asyncio.Protocol):
    """One half of a relayed connection."""

    def __init__(self, relay: ConnectionRelay) -> None:
        self.relay = relay
        self.transport: asyncio.Transport | None = None
        self.peer: _Side | None = None
        self.has_ended = False
        self.is_lost = False
        self.on_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.relay.sides.add(self)

    def data_received(self, data: bytes) -> None:
        peer = self.peer
        if peer is not None and peer.transport is not None and not peer.transport.is_closing():
            peer.transport.write(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        peer = self.peer
        if peer is None or peer.transport is None or peer.transport.is_closing():
            return False
        if peer.has_ended:
            peer.end(is_reset=False)
            return False
        peer.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.pause()

    def resume_writing(self) -> None:
        if self.peer is not None:
            self.peer.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.relay.forget(self)
        if self.on_lost is not None:
            self.on_lost()
        if self.peer is not None and self.peer.transport is not None:
            self.peer.end(is_reset=exc is not None)

    def pause(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def end(self, *, is_reset: bool) -> None:
        """Close once what is buffered has gone out; with a reset, the kernel says RST instead of FIN."""
        if self.transport is None or self.transport.is_closing():
            return
        if is_reset:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.close()


class Outbound(_Side):
    """The half towards the endpoint. It acknowledges at once: servers that write heads and bodies separately (Python's
    http.server) otherwise wait 40 ms for the delayed acknowledgement of the first, through Nagle's algorithm."""

    def __init__(self, relay: ConnectionRelay, sock: socket.socket) -> None:
        super().__init__(relay)
        self._socket = sock

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Inbound(_Side):
    """The half towards the client; what it says before the endpoint is connected is kept.

    Not reading until then is not enough: uvloop reads on after a `pause_reading` in `connection_made`.
    """

    def __init__(self, relay: ConnectionRelay) -> None:
        super().__init__(relay)
        self._early = bytearray()
        self._early_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.pause()
        self.relay.dial(self)

    def data_received(self, data: bytes) -> None:
        if self.peer is None:
            self._early += data
            self.pause()
        else:
            super().data_received(data)

    def eof_received(self) -> bool:
        if self.peer is None:
            self._early_end = True
            return True
        return super().eof_received()

    def connect(self, outbound: Outbound) -> None:
        """Pass on what came early, and go on from there."""
        self.peer = outbound
        self.resume()
        if self._early:
            super().data_received(bytes(self._early))
            self._early.clear()
        if self._early_end:
            super().eof_received()


class ConnectionRelay:
    """One listener and the connections that came through it. Where each goes on to says `_reach`."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self.sides: set[_Side] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._emptied = asyncio.Event()

    async def start(self, listener: socket.socket) -> None:
        """Accept from `listener`, which is the relay's from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Inbound(self), sock=listener, backlog=BACKLOG)

    def stop_accepting(self) -> None:
        """Close the listener; connections that are open go on."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """Close the listener and every connection."""
        self.stop_accepting()
        for task in [*self._dials]:
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for side in [*self.sides]:
            if side.transport is not None:
                side.transport.abort()
        while self.sides:
            self._emptied.clear()
            await self._emptied.wait()

    @property
    def is_idle(self) -> bool:
        """Tell whether no connection is open."""
        return not self.sides

    def dial(self, inbound: Inbound) -> None:
        """Find an endpoint for a new client."""
        task = asyncio.ensure_future(self._dial(inbound))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    def forget(self, side: _Side) -> None:
        """Let go of a connection that is closed."""
        self.sides.discard(side)
        if not self.sides:
            self._emptied.set()

    async def _reach(self, client: asyncio.Transport) -> socket.socket:
        """Return a socket that is connected to where a client's connection goes on to; raise what the client is to
        hear as a reset."""
        raise NotImplementedError

    async def _dial(self, inbound: Inbound) -> None:
        assert inbound.transport is not None
        try:
            sock = await self._reach(inbound.transport)
        except Exception as error:  # whatever noded or the network says, the client hears a reset
            logger.debug("nobody took a connection error=%s", error)
            inbound.end(is_reset=True)
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        outbound = Outbound(self, sock)
        outbound.peer = inbound
        try:
            await asyncio.get_running_loop().create_connection(lambda: outbound, sock=sock)
        except BaseException:
            sock.close()
            inbound.end(is_reset=True)
            raise
        if inbound.is_lost:
            outbound.end(is_reset=True)
        else:
            inbound.connect(outbound)


class TcpRelay(ConnectionRelay):
    """One listener of a service's port, whose connections go on to the service's endpoints."""

    def __init__(self, balancer: Balancer, sockets: SocketPool) -> None:
        super().__init__()
        self._balancer = balancer
        self._sockets = sockets

    async def _reach(self, client: asyncio.Transport) -> socket.socket:
        address = (client.get_extra_info("peername") or ("",))[0]
        endpoint, sock = await self._connect(address)
        self._balancer.connected(address, endpoint)
        return sock

    async def _connect(self, client: str) -> tuple[Endpoint, socket.socket]:
        """Try every endpoint: first each for a moment, since a pod that is gone does not answer at all; then longer."""
        failure: Exception = ConnectionRefusedError("the service has no endpoints")
        for timeout_seconds in CONNECT_TIMEOUTS_SECONDS:
            tried: set[Endpoint] = set()
            while candidates := [e for e in self._balancer.candidates(client) if e not in tried]:
                endpoint = candidates[0]
                tried.add(endpoint)
                sock = await self._sockets.take(endpoint.address)
                try:
                    async with asyncio.timeout(timeout_seconds):
                        await asyncio.get_running_loop().sock_connect(sock, (endpoint.address, endpoint.port))
                except OSError as error:  # TimeoutError is one
                    sock.close()
                    failure = error
                except BaseException:
                    sock.close()
                    raise
                else:
                    return endpoint, sock
        raise failure


class _Conversation(asyncio.DatagramProtocol):
    """One client's datagrams to one endpoint, and the answers."""

    def __init__(self, endpoint: Endpoint, answer: Callable[[bytes], None]) -> None:
        self.endpoint = endpoint
        self._answer = answer
        self.transport: asyncio.DatagramTransport | None = None
        self.last_used = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._answer(data)


class UdpRelay(asyncio.DatagramProtocol):
    """One UDP listener; a client's conversation ends after a minute of silence, as conntrack would have it."""

    def __init__(self, balancer: Balancer, sockets: SocketPool) -> None:
        self._balancer = balancer
        self._sockets = sockets
        self._listener: asyncio.DatagramTransport | None = None
        self._conversations: dict[tuple[str, int], asyncio.Task[_Conversation]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    async def start(self, listener: socket.socket) -> None:
        """Receive from `listener`, which is the relay's from now on."""
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=listener)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._listener = cast(asyncio.DatagramTransport, transport)
        self._schedule_sweep()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = self._conversations.get(addr)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            if len(self._conversations) >= MAX_UDP_CLIENTS:
                return
            task = asyncio.ensure_future(self._converse(addr))
            self._conversations[addr] = task
        if task.done():
            self._send(task, data)
        else:
            task.add_done_callback(lambda done: self._send(done, data))

    def _send(self, task: asyncio.Task[_Conversation], data: bytes) -> None:
        if task.cancelled() or task.exception() is not None:
            return
        conversation = task.result()
        conversation.last_used = asyncio.get_running_loop().time()
        if conversation.transport is not None and not conversation.transport.is_closing():
            conversation.transport.sendto(data)

    async def _converse(self, client: tuple[str, int]) -> _Conversation:
        candidates = self._balancer.candidates(client[0])
        if not candidates:
            raise ConnectionRefusedError("the service has no endpoints")
        loop = asyncio.get_running_loop()
        sock = await self._sockets.take(candidates[0].address)
        conversation = _Conversation(candidates[0], lambda data: self._reply(data, client))
        conversation.last_used = loop.time()
        try:
            sock.connect(tuple(candidates[0]))
            await loop.create_datagram_endpoint(lambda: conversation, sock=sock)
        except BaseException:
            sock.close()
            raise
        self._balancer.connected(client[0], candidates[0])
        return conversation

    def _reply(self, data: bytes, client: tuple[str, int]) -> None:
        if self._listener is not None and not self._listener.is_closing():
            self._listener.sendto(data, client)

    def _schedule_sweep(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(UDP_IDLE_SECONDS / 2, self._drop_idle)

    def _drop_idle(self) -> None:
        oldest = asyncio.get_running_loop().time() - UDP_IDLE_SECONDS
        for client, task in [*self._conversations.items()]:
            if task.done() and (task.cancelled() or task.exception() or task.result().last_used < oldest):
                self._end(client)
        self._schedule_sweep()

    def _end(self, client: tuple[str, int]) -> None:
        task = self._conversations.pop(client)
        if not task.done():
            task.cancel()
        elif not task.cancelled() and task.exception() is None and (transport := task.result().transport):
            transport.close()

    def keep_endpoints(self, endpoints: Collection[Endpoint]) -> None:
        """End the conversations with other endpoints: their clients' next datagrams choose anew."""
        for client, task in [*self._conversations.items()]:
            if (
                not task.done()
                or task.cancelled()
                or task.exception()
                or task.result().endpoint not in endpoints
            ):
                self._end(client)

    def stop_accepting(self) -> None:
        """Close the listener and with it, UDP having no connections, everything."""
        if self._sweep is not None:
            self._sweep.cancel()
        if self._listener is not None:
            self._listener.close()
        self.keep_endpoints(())

    async def stop(self) -> None:
        """Close everything."""
        self.stop_accepting()

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is left open."""
        return not self._conversations
