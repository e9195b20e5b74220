"""Pass netlink messages on to netfilter in the node's network namespace, and its answers back.

What they mean is the network's (proa.network.netfilter). The kernel answers within `send`, but for dumps, of which each
`recv` brings the next part: when nothing is left to receive the answer is whole.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

_NETLINK_NETFILTER = 12
_SEND_BYTES = 1 << 20
_MAX_ANSWER_BYTES = 16 << 20
_DONTWAIT = socket.MSG_DONTWAIT


_sockets: dict[int, socket.socket] = {}
"""By network namespace. They stay open: closing one waits for what its last transaction removed."""


def ask(request: bytes) -> bytes:
    """Send a request from the namespace that the caller is in; raise OSError for one that is not even read."""
    namespace = os.stat("/proc/thread-self/ns/net").st_ino
    made = _sockets.get(namespace) or _open(namespace)
    try:
        made.send(request)
        answer = bytearray()
        while len(answer) < _MAX_ANSWER_BYTES:
            try:
                answer += made.recv(1 << 18, _DONTWAIT)
            except BlockingIOError:
                return bytes(answer)
        raise OSError(errno.EMSGSIZE, "the answer is too long")
    except OSError:  # what is left of the answer is nobody's
        _sockets.pop(namespace).close()
        raise


def _open(namespace: int) -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
    made.bind((0, 0))
    _sockets[namespace] = made
    return made


def probe() -> str:
    """Ask for nftables' tables; return why they cannot be had, "" when they can."""
    get_tables, request_dump, unspecified = 10 << 8 | 1, 0x301, struct.pack(">BBH", 0, 0, 0)
    try:
        answer = ask(struct.pack("=IHHII", 20, get_tables, request_dump, 1, 0) + unspecified)
    except OSError as error:
        return f"netfilter does not answer: {error.strerror or error}"
    kind = struct.unpack_from("=IHH", answer)[1] if len(answer) >= 20 else 2
    if kind == 2 and (len(answer) < 20 or struct.unpack_from("=i", answer, 16)[0]):
        return "the kernel has no nf_tables"
    return ""
