"""Listen for the cluster's registry, on the host's loopback and in each node, and serve each connection in a thread.

What is needed for that is imported by the first connection: until then a listener costs a descriptor. TLS and plain
HTTP are told apart by the first byte; clients on loopback expect the one or the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proa.registry.access import Access
    from proa.registry.repositories import Repositories
    from proa.registry.uploads import Uploads

logger = logging.getLogger(__name__)

PORT = 5000
MAX_CONNECTIONS = 64
"""At once, of each listener."""
_HANDSHAKE_SECONDS = 10.0
_TLS_HANDSHAKE = b"\x16"


class RegistryServer:
    """The registry of the store at `directory`. `make_access` and `make_context` are called when they are needed."""

    def __init__(
        self,
        directory: Path,
        make_access: Callable[[], Access],
        make_context: Callable[[], ssl.SSLContext],
        hosts: frozenset[str],
    ) -> None:
        self._directory = directory
        self._make_access = make_access
        self._make_context = make_context
        self._hosts = hosts
        self._parts: tuple[Repositories, Uploads, Access, ssl.SSLContext] | None = None
        self._connections: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def listen(self, listener: socket.socket, *, is_host: bool) -> Listener:
        """Accept connections from now on; what connects on the host may be trusted (access.py)."""
        return Listener(self, listener, is_host=is_host)

    async def close(self) -> None:
        """Cut every connection, and wait until none is served. Listeners are closed by who has them."""
        with self._lock:
            connections, threads = [*self._connections], [*self._threads]
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        if self._parts is not None:
            self._parts[1].close()

    def serve(self, connection: socket.socket, done: Callable[[], None], *, is_host: bool) -> None:
        """Serve a connection in a thread; `done` is called when it has ended."""
        thread = threading.Thread(
            target=self._run,
            args=(connection, done),
            kwargs={"is_host": is_host},
            name="registry",
            daemon=True,
        )
        with self._lock:
            self._connections.add(connection)
            self._threads.add(thread)
        thread.start()

    def _run(self, connection: socket.socket, done: Callable[[], None], *, is_host: bool) -> None:
        try:
            self._talk(connection, is_host=is_host)
        except OSError as error:
            logger.debug("registry connection ended error=%s", error)
        except Exception:
            logger.exception("the registry cannot serve a connection")
        finally:
            with self._lock:
                self._connections.discard(connection)
                self._threads.discard(threading.current_thread())
            with contextlib.suppress(OSError):
                connection.close()
            done()

    def _talk(self, connection: socket.socket, *, is_host: bool) -> None:
        from proa.registry.access import is_own_process
        from proa.registry.handler import Handler

        repositories, uploads, access, context = self._ensure_parts()
        is_trusted = is_host and is_own_process(connection)
        connection.settimeout(_HANDSHAKE_SECONDS)
        stream = connection
        if connection.recv(1, socket.MSG_PEEK) == _TLS_HANDSHAKE:
            stream = context.wrap_socket(connection, server_side=True)
            with self._lock:
                self._connections.discard(connection)
                self._connections.add(stream)
        try:
            Handler(stream, repositories, uploads, access, lambda: is_trusted, self._hosts)
        finally:
            with self._lock:
                self._connections.discard(stream)
            stream.close()

    def _ensure_parts(self) -> tuple[Repositories, Uploads, Access, ssl.SSLContext]:
        from proa.images.store import ImageStore
        from proa.registry.repositories import Repositories
        from proa.registry.uploads import Uploads

        with self._lock:
            if self._parts is None:
                store = ImageStore(self._directory)
                self._parts = (Repositories(store), Uploads(store), self._make_access(), self._make_context())
            return self._parts


class Listener:
    """A listening socket of the registry's."""

    def __init__(self, server: RegistryServer, listener: socket.socket, *, is_host: bool) -> None:
        self._server = server
        self._listener = listener
        self._is_host = is_host
        self._free = threading.Semaphore(MAX_CONNECTIONS)
        self._loop = asyncio.get_running_loop()
        listener.setblocking(False)
        self._loop.add_reader(listener.fileno(), self._accept)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """Accept no more."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it has gone again, or we have no descriptor for it
            return
        if not self._free.acquire(blocking=False):
            connection.close()
            return
        self._server.serve(connection, self._free.release, is_host=self._is_host)


def listen_on_loopback() -> socket.socket | None:
    """Return a listening socket on the host's loopback: at port 5000 if that is free, else at any; None without any."""
    for port in (PORT, 0):
        listener = socket.socket(socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(64)
        except OSError:
            listener.close()
            continue
        return listener
    return None
