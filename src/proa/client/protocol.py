"""The client protocol: the verbs of the Kubernetes API as calls, and the transport beneath them.

`ApiClient` (api.py) implements `Client` once, over any `Transport`: the in-process one (local.py) hands a
`Request` to the API server's handler without a socket; the HTTP one (http.py) reaches any Kubernetes.
Errors are raised as `objects.errors.ApiError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, Protocol

from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource

Object = dict[str, Any]
"""A Kubernetes object as decoded JSON. One that came from a list, a watch or a cache is never mutated."""


@dataclass(frozen=True, slots=True)
class User:
    """Who is asking, as authentication found out."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class Request:
    """One API request. Header names are lower case; `query` keeps every value of a repeated parameter."""

    method: str
    path: str
    query: dict[str, list[str]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    user: User | None = None
    source: str = ""
    """The address that it came from; "" for this process."""

    def parameter(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default


@dataclass(slots=True)
class Response:
    """One API answer: either `body` whole, or `stream` in chunks until the iterator ends, or an upgrade.

    `body` may be a sequence of pieces, so that a large list is written without being joined.
    `upgrade`, where set, takes over the connection (WebSocket, SPDY) in place of an answer; the in-process
    transport refuses it.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Sequence[bytes] = b""
    stream: AsyncIterator[bytes] | None = None
    upgrade: Callable[[Any], Awaitable[None]] | None = None


Handler = Callable[[Request], Awaitable[Response]]


class Transport(Protocol):
    """Carries a request to an API server and brings the answer back."""

    async def send(self, request: Request) -> Response:
        """Return the answer; raise ServiceUnavailable when the server cannot be reached."""

    async def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The answer to a list: the items, and the resourceVersion from which a watch continues."""

    items: list[Object]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change. `object` of a BOOKMARK has only metadata.resourceVersion."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Object


PropagationPolicy = Literal["Background", "Foreground", "Orphan"]
PatchType = Literal["application/json-patch+json", "application/merge-patch+json",
                    "application/strategic-merge-patch+json", "application/apply-patch+yaml"]  # fmt: skip
MERGE_PATCH: PatchType = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH: PatchType = "application/strategic-merge-patch+json"
JSON_PATCH: PatchType = "application/json-patch+json"


class Client(Protocol):
    """The verbs. `namespace` is None for cluster-scoped resources, and in list and watch for all namespaces."""

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return one object; raise NotFound."""

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        metadata_only: bool = False,
    ) -> ObjectList:
        """Return the objects that match; with `metadata_only` no more of each than that (PartialObjectMetadata)."""

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
        metadata_only: bool = False,
    ) -> AsyncIterator[WatchEvent]:
        """Yield changes after `resource_version`, bookmarks included; raise Expired when it is compacted.

        With `metadata_only` objects are PartialObjectMetadata.
        """

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        """Create and return the object as stored; raise AlreadyExists, Invalid."""

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """Replace the object (or its status, scale) of the same name; raise Conflict when it has changed."""

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: object,
        namespace: str | None = None,
        *,
        patch_type: PatchType = MERGE_PATCH,
        subresource: str = "",
    ) -> Object:
        """Apply `patch` (any JSON value) and return the object as stored."""

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: PropagationPolicy | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """Delete; return the object (still there while it has finalizers or grace) or a Status."""

    async def create_subresource(
        self, resource: Resource, name: str, subresource: str, obj: Object, namespace: str | None = None
    ) -> Object:
        """POST to a subresource: `binding`, `eviction`, `token`."""

    async def request(self, method: str, path: str, body: object = None) -> Object:
        """Send any other request (discovery, /version) and return the decoded answer."""

    async def read(self, path: str, *, limit_bytes: int = 0) -> bytes:
        """Return the answer to a GET of what is not an object: a log, metrics; its first `limit_bytes`, unless 0."""

    async def close(self) -> None:
        """Let go of connections."""
