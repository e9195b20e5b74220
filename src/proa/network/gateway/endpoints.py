"""Tell Envoy each backend's endpoints as they change: its Endpoint Discovery Service, of which it is the one client.

Over one stream (ADS, state of the world): Envoy says which clusters it has, we send those that it has not got yet, and
from then on those that change. All else goes by files (xds.py); endpoints do not, as Envoy would need an inotify
instance for each cluster, of which a user has 128.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from proa.network.data_path import Endpoint
from proa.network.gateway.envoy_config import ENDPOINTS, ENDPOINTS_SOCKET
from proa.network.gateway.grpc_stream import GrpcStream
from proa.network.gateway.model import BackendKey
from proa.network.gateway.protobuf import field, fields, integer

logger = logging.getLogger(__name__)

_RESOURCE_NAMES, _TYPE_URL, _ERROR_DETAIL = 3, 4, 6


class EndpointServer:
    """The endpoints of all backends, and the one stream on which Envoy hears of them."""

    def __init__(self, folder: Path, uid: int) -> None:
        self._folder = folder
        self._uid = uid
        self._assignments: dict[str, bytes] = {}
        self._sent: dict[str, bytes] = {}
        self._wanted: set[str] = set()
        self._stream: GrpcStream | None = None
        self._server: asyncio.Server | None = None
        self._version = 0

    async def open(self) -> None:
        """Listen in Envoy's folder."""
        directory = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            path = f"/proc/self/fd/{directory}/{ENDPOINTS_SOCKET}"  # a socket's path may not be long
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            listener.bind(path)
            if self._uid >= 0:
                os.chown(path, self._uid, self._uid)
        finally:
            os.close(directory)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: GrpcStream(self._begin, self._hear), sock=listener
        )

    async def close(self) -> None:
        """Listen no more."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._server is not None:
            self._server.close()
            self._server = None

    def update(self, backend: BackendKey, endpoints: Iterable[Endpoint]) -> None:
        """Have requests for a backend go to these from now on."""
        name = str(backend)
        self._assignments[name] = encode(name, endpoints)
        self._send([name])

    def keep_only(self, backends: Iterable[BackendKey]) -> None:
        """Forget the others."""
        names = {str(backend) for backend in backends}
        self._assignments = {name: value for name, value in self._assignments.items() if name in names}

    def _begin(self, stream: GrpcStream) -> None:
        self._stream = stream
        self._sent.clear()
        self._wanted.clear()

    def _hear(self, message: bytes) -> None:
        """Take a DiscoveryRequest: the clusters that Envoy has now, and whether it took what it was sent."""
        names: set[str] = set()
        for number, value in fields(message):
            if number == _TYPE_URL and value.decode() != ENDPOINTS:
                return
            if number == _RESOURCE_NAMES:
                names.add(value.decode())
            if number == _ERROR_DETAIL:
                logger.error("Envoy refuses endpoints error=%s", dict(fields(value)).get(2, b"").decode())
        self._wanted = names
        self._sent = {name: value for name, value in self._sent.items() if name in names}
        self._send(sorted(names))

    def _send(self, names: Iterable[str]) -> None:
        """Send those of these that Envoy wants and has not got."""
        if self._stream is None:
            return
        news = {
            name: found
            for name in names
            if name in self._wanted
            and (found := self._assignments.get(name)) is not None
            and self._sent.get(name) != found
        }
        if not news:
            return
        self._sent.update(news)
        self._version += 1
        resources = b"".join(field(2, field(1, ENDPOINTS) + field(2, value)) for value in news.values())
        version = str(self._version)
        self._stream.send(field(1, version) + resources + field(4, ENDPOINTS) + field(5, version))


def encode(name: str, endpoints: Iterable[Endpoint]) -> bytes:
    """Return a ClusterLoadAssignment."""
    hosts = b"".join(
        field(2, field(1, field(1, field(1, field(2, address) + integer(3, port)))))
        for address, port in endpoints
    )
    return field(1, name) + field(2, hosts)
