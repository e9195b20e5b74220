"""Say who may pull and push at the cluster's registry.

On the host's loopback every process of the machine can connect, of other users too: the kernel says whose a connection
is (/proc/net/tcp). This user's own and root's may do all; others, and everything in a pod, show a token of the cluster
(as password, with any user name), and RBAC decides: `get` (pull), `update` (push), `delete` and `list` of
`repositories.registry.proa.local`. `team/app` is in namespace `team`; `app` is in none.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from proa.client.protocol import Client
from proa.objects.errors import ApiError
from proa.objects.resource import SUBJECT_ACCESS_REVIEWS, Resource

GROUP = "registry.proa.local"
RESOURCE = "repositories"
ACCOUNT = "image-registry"
_TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
_KNOWN_SECONDS = 10.0
_MAX_KNOWN = 4096
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it may be done; `is_known` tells whether we know who asks."""

    allowed: bool
    is_known: bool
    reason: str = ""


class Access(Protocol):
    """Decides, in a thread of the connection's own."""

    def decide(self, *, is_trusted: bool, authorization: str, verb: str, repository: str) -> Answer:
        """Return the answer for a request with this Authorization header."""


class ApiAccess:
    """Asks the API server who has a token, and what they may do. `loop` is the one that `client` belongs to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: Client) -> None:
        self._loop = loop
        self._client = client
        self._known: dict[tuple[str, str, str], tuple[float, Answer]] = {}
        self._lock = threading.Lock()

    def decide(self, *, is_trusted: bool, authorization: str, verb: str, repository: str) -> Answer:
        """Return the answer; what was answered a moment ago is not asked again."""
        if is_trusted:
            return Answer(True, True)
        token = read_token(authorization)
        if not token:
            return Answer(False, False, "authentication required: a token of the cluster as the password")
        key = (hashlib.sha256(token.encode()).hexdigest(), verb, repository)
        with self._lock:
            until, answer = self._known.get(key, (0.0, None))
        if answer is not None and time.monotonic() < until:
            return answer
        answer = self._wait(lambda: ask(self._client, token, verb, repository))
        with self._lock:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[key] = (time.monotonic() + _KNOWN_SECONDS, answer)
        return answer

    def _wait(self, question: Callable[[], Awaitable[Answer]]) -> Answer:
        async def asked() -> Answer:
            return await question()

        try:
            return asyncio.run_coroutine_threadsafe(asked(), self._loop).result(_TIMEOUT_SECONDS)
        except (ApiError, TimeoutError) as error:
            return Answer(False, True, f"the API server does not say whether this is allowed: {error}")


async def ask(client: Client, token: str, verb: str, repository: str) -> Answer:
    """Ask the API server: TokenReview, then SubjectAccessReview."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    status = (await client.create(_TOKEN_REVIEWS, review)).get("status") or {}
    if not status.get("authenticated"):
        return Answer(False, False, "the password is no token of this cluster that is valid")
    user = status["user"]
    namespace, slash, _ = repository.partition("/")
    attributes = {"group": GROUP, "resource": RESOURCE, "verb": verb, "name": repository.replace("/", ":")}
    access = {
        "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
        "kind": SUBJECT_ACCESS_REVIEWS.kind,
        "spec": {
            "user": user.get("username", ""),
            "groups": user.get("groups") or [],
            "uid": user.get("uid", ""),
            "extra": user.get("extra") or {},
            "resourceAttributes": {**attributes, **({"namespace": namespace} if slash else {})},
        },
    }
    answer = (await client.create(SUBJECT_ACCESS_REVIEWS, access)).get("status") or {}
    words = f'User "{user.get("username", "")}" cannot {verb} {RESOURCE}.{GROUP} "{repository}"'
    return Answer(bool(answer.get("allowed")), True, words)


def read_token(authorization: str) -> str:
    """Return the token of a Basic (its password) or Bearer header, "" without any."""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def is_own_process(connection: socket.socket) -> bool:
    """Tell whether the other end of a loopback connection is a socket of this user's, or root's, other processes.

    This process itself connects for others: what it relays for pods (`--outside-network loopback`) is not trusted.
    Nor is a socket that was closed already (inode 0): the kernel then says that it is root's, whoever had it.
    """
    try:
        (host, port), (own_host, own_port) = connection.getpeername(), connection.getsockname()
    except (OSError, ValueError):
        return False
    wanted = (_encode(host, port), _encode(own_host, own_port))
    with open("/proc/net/tcp") as file:
        next(file)
        for line in file:
            fields = line.split()
            if (fields[1], fields[2]) == wanted:
                uid, inode = int(fields[7]), fields[9]
                return inode != "0" and uid in (os.geteuid(), 0) and not _is_ours(inode)
    return False


def _is_ours(inode: str) -> bool:
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}") == f"socket:[{inode}]":
                return True
    return False


def _encode(host: str, port: int) -> str:
    number = int.from_bytes(socket.inet_aton(host), "little")
    return f"{number:08X}:{port:04X}"
