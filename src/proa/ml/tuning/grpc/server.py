"""Serve unary gRPC methods on any number of sockets, with the address of whoever calls, and bounds on what one costs.

Why not grpcio: it takes no listening sockets, and nodes' are of other network namespaces; and whoever pushes a metric
need not have installed the extra `tune`. connection.py speaks HTTP/2.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from proa.ml.tuning.grpc.codec import Malformed, Message
from proa.ml.tuning.grpc.connection import Caller, GrpcConnection
from proa.ml.tuning.grpc.framing import unframe
from proa.ml.tuning.grpc.messages import CODEC, METHODS
from proa.ml.tuning.grpc.status import CallFailed, Code

Method = Callable[[Message, Caller], Awaitable[Message]]

MAX_CONNECTIONS = 512
MAX_OF_ONE_ADDRESS = 64
"""Connections of one pod: it cannot keep all others out."""
MAX_HELD_BYTES = 64 * 1024 * 1024
"""Of requests and answers of all connections, until they are sent."""
MAX_HELD_OF_ONE_BYTES = 16 * 1024 * 1024
"""Of one pod's."""
CALL_SECONDS = 60.0
_LONG_BYTES = 64 * 1024
"""What is longer is decoded beside the loop."""

logger = logging.getLogger(__name__)


class GrpcServer:
    """Serves methods by their paths, such as `/grpc.health.v1.Health/Check`."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        *,
        max_connections: int = MAX_CONNECTIONS,
        max_of_one_address: int = MAX_OF_ONE_ADDRESS,
    ) -> None:
        self._methods = methods
        self._max_connections = max_connections
        self._max_of_one_address = max_of_one_address
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
        if len(self._connections) >= self._max_connections or of_one >= self._max_of_one_address:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: GrpcConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def hold(self, size: int, caller: Caller) -> bool:
        """Count bytes that are kept (or let go, below 0) for a caller; return whether there is room for them."""
        held, address = self._held_bytes, caller.address[0]
        is_full = held[address] + size > MAX_HELD_OF_ONE_BYTES or held.total() + size > MAX_HELD_BYTES
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
        request, reply = METHODS[path]
        decode = partial(CODEC.decode, request, unframe(body))
        try:
            message = await asyncio.to_thread(decode) if len(body) > _LONG_BYTES else decode()
        except Malformed as error:
            raise CallFailed(Code.INTERNAL, f"this is no {request}: {error}") from None
        try:
            async with asyncio.timeout(min(seconds or CALL_SECONDS, CALL_SECONDS)):
                answer = await method(message, caller)
            return await asyncio.to_thread(CODEC.encode, reply, answer) if answer else b""
        except TimeoutError:
            raise CallFailed(Code.DEADLINE_EXCEEDED, "it took too long") from None
        except CallFailed:
            raise
        except Exception:
            logger.exception("a call has failed method=%s", path)
            raise CallFailed(Code.INTERNAL, "this call has failed here; the log says why") from None
