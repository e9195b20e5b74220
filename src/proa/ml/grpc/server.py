"""Serve unary gRPC methods on any number of sockets, with the address of whoever calls, and bounds on what one costs.

Why not grpcio: it takes no listening sockets, and nodes' are of other network namespaces; whoever pushes a metric
need not have installed the extra `tune`; and it takes 20 MB and 0.2 s of a model server's start. connection.py speaks
HTTP/2.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from proa.ml.grpc.codec import Contract, Malformed, Message
from proa.ml.grpc.connection import Caller, GrpcConnection, Limits
from proa.ml.grpc.framing import unframe
from proa.ml.grpc.status import CallFailed, Code

Method = Callable[[Message, Caller], Awaitable[Message]]

_LONG_BYTES = 64 * 1024
"""What is longer is decoded beside the loop."""

logger = logging.getLogger(__name__)


class GrpcServer:
    """Serves methods by their paths, such as `/grpc.health.v1.Health/Check`."""

    def __init__(
        self, contract: Contract, methods: Mapping[str, Method], limits: Limits | None = None
    ) -> None:
        self._contract = contract
        self._methods = methods
        self.limits = limits or Limits()
        self._connections: set[GrpcConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._held_bytes: Counter[str] = Counter()

    async def serve(self, sock: socket.socket, *, is_host: bool = False) -> asyncio.Server:
        """Accept on a listening socket, which is ours from now on. `is_host`: it is on this machine's loopback."""
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        server = await loop.create_server(lambda: GrpcConnection(self, is_host=is_host), sock=sock)
        self._servers.append(server)
        return server

    def go_away(self) -> None:
        """Tell all clients to go elsewhere with what they call next."""
        for connection in self._connections:
            connection.go_away()

    async def close(self) -> None:
        """Accept no more, and cut what is under way."""
        for server in self._servers:
            server.close()
        tasks = [task for connection in self._connections for task in connection.abort()]
        await asyncio.gather(*tasks, return_exceptions=True)

    # What a connection asks

    def admit(self, connection: GrpcConnection) -> bool:
        """Take in a connection, unless there are too many."""
        address = connection.caller.address[0]
        of_one = sum(other.caller.address[0] == address for other in self._connections)
        if len(self._connections) >= self.limits.connections or of_one >= self.limits.of_one_address:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: GrpcConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def hold(self, size: int, caller: Caller) -> bool:
        """Count bytes that are kept (or let go, below 0) for a caller; return whether there is room for them."""
        held, address = self._held_bytes, caller.address[0]
        limits = self.limits
        is_full = held[address] + size > limits.held_of_one_bytes or held.total() + size > limits.held_bytes
        if size > 0 and is_full:
            return False
        held[address] += size
        if not held[address]:
            del held[address]
        return True

    async def answer(self, path: str, body: bytes, caller: Caller, seconds: float | None) -> bytes:
        """Return a method's encoded answer; raise CallFailed."""
        method = self._methods.get(path)
        if method is None:
            raise CallFailed(Code.UNIMPLEMENTED, f"unknown method {path}")
        codec, (request, reply) = self._contract.codec, self._contract.methods[path]
        decode = partial(codec.decode, request, unframe(body))
        try:
            message = await asyncio.to_thread(decode) if len(body) > _LONG_BYTES else decode()
        except Malformed as error:
            raise CallFailed(Code.INTERNAL, f"this is no {request}: {error}") from None
        try:
            async with asyncio.timeout(min(seconds or self.limits.call_seconds, self.limits.call_seconds)):
                answer = await method(message, caller)
            return await asyncio.to_thread(codec.encode, reply, answer) if answer else b""
        except TimeoutError:
            raise CallFailed(Code.DEADLINE_EXCEEDED, "it took too long") from None
        except CallFailed:
            raise
        except Exception:
            logger.exception("a call has failed method=%s", path)
            raise CallFailed(Code.INTERNAL, "this call has failed here; the log says why") from None
