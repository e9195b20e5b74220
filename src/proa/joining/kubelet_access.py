"""Ask the cluster who may use a kubelet's own port, and what of it.

Certificates of the cluster's authority are known, tokens are reviewed, and rights too. Answers are kept for a while, as
upstream keeps them. Follows pkg/kubelet/server/auth.go, cmd/kubelet/app/auth.go and
apiserver/plugin/pkg/{authenticator/token,authorizer}/webhook.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from proa.client.protocol import Client, Request, User
from proa.objects.resource import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS

TOKEN_SECONDS = 120.0
ALLOWED_SECONDS, REFUSED_SECONDS = 300.0, 30.0
MAX_KEPT = 1024
_VERBS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_SUBRESOURCES = {
    "stats": ("stats",),
    "metrics": ("metrics",),
    "logs": ("log",),
    "checkpoint": ("checkpoint",),
}
_FINE = {"healthz": "healthz", "pods": "pods", "runningpods": "pods", "configz": "configz"}
"""Parts that have a subresource of their own, besides nodes/proxy (KEP-2862)."""


class Kept:
    """What was asked lately, and the answer, for so many seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: OrderedDict[Any, tuple[float, Any]] = OrderedDict()

    def get(self, key: Any) -> Any:
        """Return what is kept, None where nothing is."""
        until, value = self._entries.get(key, (0.0, None))
        return value if self._clock() < until else None

    def put(self, key: Any, value: Any, seconds: float) -> None:
        """Keep an answer."""
        self._entries[key] = (self._clock() + seconds, value)
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_KEPT:
            self._entries.popitem(last=False)


def subresources_of(path: str) -> tuple[str, ...]:
    """Return what of a node a path is, any of which may be allowed."""
    first = path.strip("/").partition("/")[0].lower()
    if first in _SUBRESOURCES:
        return _SUBRESOURCES[first]
    return (_FINE[first], "proxy") if first in _FINE else ("proxy",)


class KubeletAccess:
    """One node's. `client` is the node's own, which may ask for reviews."""

    def __init__(self, client: Client, node_name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._node_name = node_name
        self._users, self._verdicts = Kept(clock), Kept(clock)

    async def find_user(self, request: Request) -> User | None:
        """Return who asks, None for whom nobody knows; raise ApiError where the cluster cannot be asked."""
        if request.user is not None:  # a certificate that TLS has verified
            return request.user
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return None
        return await self._review_token(token.strip())

    async def _review_token(self, token: str) -> User | None:
        key = hashlib.sha256(token.encode()).digest()
        if (kept := self._users.get(key)) is not None:
            return User(*kept)
        asked = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": TOKEN_REVIEWS.kind,
            "spec": {"token": token},
        }
        status = (await self._client.create(TOKEN_REVIEWS, asked)).get("status") or {}
        if not status.get("authenticated"):
            return None
        said = status.get("user") or {}
        extra = {name: tuple(values) for name, values in (said.get("extra") or {}).items()}
        found = (said.get("username", ""), tuple(said.get("groups") or ()), said.get("uid", ""), extra)
        self._users.put(key, found, TOKEN_SECONDS)
        return User(*found)

    async def find_refusal(self, user: User, request: Request) -> str:
        """Return upstream's words where the user may not, "" where they may; raise ApiError."""
        verb, names = _VERBS.get(request.method, ""), subresources_of(request.path)
        for name in names:
            if await self._may(user, verb, name):
                return ""
        listed = " ".join(names)
        return f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{listed}])\n"

    async def _may(self, user: User, verb: str, subresource: str) -> bool:
        key = (user.name, user.uid, user.groups, repr(sorted(user.extra.items())), verb, subresource)
        if (kept := self._verdicts.get(key)) is not None:
            return bool(kept)
        attributes = {
            "verb": verb,
            "version": "v1",
            "resource": "nodes",
            "subresource": subresource,
            "name": self._node_name,
        }
        asked = {
            "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
            "kind": SUBJECT_ACCESS_REVIEWS.kind,
            "spec": {
                "user": user.name,
                "uid": user.uid,
                "groups": list(user.groups),
                "extra": {name: list(values) for name, values in user.extra.items()},
                "resourceAttributes": attributes,
            },
        }
        allowed = bool((await self._client.create(SUBJECT_ACCESS_REVIEWS, asked))["status"]["allowed"])
        self._verdicts.put(key, allowed, ALLOWED_SECONDS if allowed else REFUSED_SECONDS)
        return allowed
