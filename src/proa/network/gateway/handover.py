"""Hand listening sockets to Envoy, so that it listens where it could not by itself: on the host, and on low ports.

Envoy takes sockets from the process that it replaces ("hot restart"): here that predecessor is us. It is told to be the
second of its line, and asks for each address by datagrams whose form is Envoy's source/server/hot_restart.proto; a
shared memory segment that both would use holds nothing but its size and version. We keep the sockets open, so that
connections wait rather than fail while Envoy is started anew.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import os
import socket
import struct
from pathlib import Path

from proa.network.gateway.protobuf import field, fields, integer

logger = logging.getLogger(__name__)

VERSION = "11.104"
"""What `envoy --hot-restart-version` must say: the protocol's version, and the size of the shared memory."""
BASE_IDS = 100_000_000
_NAME = "handover"
_MAX_BYTES = 4096
_REQUEST, _REPLY = 1, 2
_PASS_SOCKET, _SHUTDOWN_ADMIN, _STATS = 1, 2, 3
_NO_SOCKET = (1 << 64) - 1
_FOREVER_SECONDS = 1_000_000_000


class Handover:
    """The sockets that Envoy may have, by the address that its configuration names."""

    def __init__(self, folder: Path, base_id: int) -> None:
        self._folder = folder
        self._base_id = base_id
        self._sockets: dict[str, socket.socket] = {}
        self._channels: list[socket.socket] = []
        self._directory = -1

    @property
    def arguments(self) -> list[str]:
        """Return what Envoy is to be started with, in its working folder."""
        return [
            *("--restart-epoch", "1", "--base-id", str(self._base_id), "--socket-path", _NAME),
            *("--parent-shutdown-time-s", str(_FOREVER_SECONDS), "--skip-hot-restart-parent-stats"),
        ]

    def offer(self, address: tuple[str, int], listener: socket.socket) -> None:
        """Have Envoy use a listening, non-blocking socket for an address of its configuration."""
        self._sockets[_url(address)] = listener

    def withdraw(self, address: tuple[str, int]) -> None:
        """Close a socket of ours; Envoy closes its copy with its listener."""
        if (listener := self._sockets.pop(_url(address), None)) is not None:
            listener.close()

    def open(self, uid: int) -> None:
        """Answer from now on; `uid` is who Envoy will be (-1: us)."""
        self.close()
        self._directory = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for role in ("parent", "parent_udp", "udp_parent"):
            path = f"{self._here}/{_NAME}_{role}_{self._base_id * 10}"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            channel.bind(path)
            if uid >= 0:
                os.chown(path, uid, uid)
            self._channels.append(channel)
        descriptor = os.open(self._memory, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        version, _, size = VERSION.partition(".")
        os.write(descriptor, struct.pack("<QQ", int(size), int(version)).ljust(int(size), b"\0"))
        if uid >= 0:
            os.fchown(descriptor, uid, uid)
        os.close(descriptor)
        asyncio.get_running_loop().add_reader(self._channels[0], self._answer)

    def close(self) -> None:
        """Answer no more, and leave nothing behind but the sockets."""
        if self._channels:
            asyncio.get_running_loop().remove_reader(self._channels[0])
        for channel in self._channels:
            channel.close()
        self._channels.clear()
        self._forget_memory()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def close_sockets(self) -> None:
        """Listen no more."""
        while self._sockets:
            self._sockets.popitem()[1].close()

    @property
    def _here(self) -> str:
        return f"/proc/self/fd/{self._directory}"  # a socket's path may not be long, a home's may

    @property
    def _memory(self) -> str:
        return f"/dev/shm/envoy_shared_memory_{self._base_id * 10}"  # noqa: S108 (Envoy's name; ours alone: 0600)

    def _forget_memory(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._memory)

    def _answer(self) -> None:
        try:
            data, _, _, sender = self._channels[0].recvmsg(_MAX_BYTES)
        except BlockingIOError:
            return
        self._forget_memory()  # whoever asks has it
        request = dict(fields(dict(fields(data[8:])).get(_REQUEST, b"")))
        if _PASS_SOCKET in request:
            self._pass(dict(fields(request[_PASS_SOCKET])).get(1, b"").decode(), sender)
        elif _SHUTDOWN_ADMIN in request:
            self._send(_message(_SHUTDOWN_ADMIN, b""), sender)
        elif _STATS in request:
            self._send(_message(_STATS, b""), sender)

    def _pass(self, address: str, sender: str) -> None:
        listener = self._sockets.get(address)
        if listener is None:
            logger.error("Envoy asks for a socket that it was not given address=%s", address)
            self._send(_message(_PASS_SOCKET, integer(1, _NO_SOCKET)), sender)
            return
        rights = array.array("i", [listener.fileno()])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        self._send(_message(_PASS_SOCKET, integer(1, 1)), sender, ancillary)

    def _send(
        self, message: bytes, sender: str, ancillary: list[tuple[int, int, array.array[int]]] | None = None
    ) -> None:
        try:
            self._channels[0].sendmsg([message], ancillary or [], 0, f"{self._here}/{sender}")
        except OSError as error:  # it has ended meanwhile
            logger.info("Envoy was not answered error=%s", error)


def _url(address: tuple[str, int]) -> str:
    host, port = address
    return f"tcp://{f'[{host}]' if ':' in host else host}:{port}"


def _message(kind: int, body: bytes) -> bytes:
    """Return a reply as it goes over the wire: its length, then a HotRestartMessage."""
    reply = field(_REPLY, field(kind, body))
    return struct.pack(">Q", len(reply)) + reply
