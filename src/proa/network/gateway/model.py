"""Say what an L7 proxy has to do, in neither Kubernetes' nor Envoy's words: doors, their sites, their routes.

A door is a port with, for TLS, the server names and certificates by which it is entered; a site is one hostname
behind it; a route says which requests it takes and what becomes of them. Planners make these, envoy_config.py
translates them. All are plain values that compare by what they hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from proa.objects.quick_dataclass import dataclass

ANY_HOST = ""
HTTP, HTTPS = "HTTP", "HTTPS"


class ObjectKey(NamedTuple):
    """A namespaced object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class BackendKey(NamedTuple):
    """One port of a Service, and whether it is spoken to in HTTP/2 without TLS."""

    service: ObjectKey
    port: int
    is_http2: bool = False

    def __str__(self) -> str:
        return f"{self.service}:{self.port}{'/h2c' if self.is_http2 else ''}"


class ValueMatch(NamedTuple):
    """A header or query parameter must have this value."""

    name: str
    value: str
    is_regex: bool = False


class PathMatch(NamedTuple):
    """A prefix is one of whole path elements; a regular expression matches the whole path."""

    kind: Literal["exact", "regex", "prefix"]
    value: str


class PathChange(NamedTuple):
    """What a path becomes: another one as a whole, or another prefix in place of the one that was matched."""

    kind: Literal["full", "prefix"]
    value: str


class HeaderEdits(NamedTuple):
    """Headers to put in place of others, beside others, and to take away."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()

    def then(self, other: HeaderEdits) -> HeaderEdits:
        """Return these edits and those of another filter."""
        return HeaderEdits(self.set + other.set, self.add + other.add, self.remove + other.remove)


NO_EDITS = HeaderEdits()


class Redirect(NamedTuple):
    """An answer that names another place; "", 0 and None leave as it is what the request says."""

    scheme: str = ""
    hostname: str = ""
    port: int = 0
    path: PathChange | None = None
    status: int = 302


class Rewrite(NamedTuple):
    """What the backend sees in place of the request's hostname and path."""

    hostname: str = ""
    path: PathChange | None = None


class Cors(NamedTuple):
    """Which other sites' scripts may use this one; an origin may have one `*`."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed_headers: tuple[str, ...] = ()
    max_age_seconds: int = 0
    allow_credentials: bool = False


class Mirror(NamedTuple):
    """A backend that gets a copy of `numerator` in `denominator` requests; its answers are dropped."""

    backend: BackendKey
    numerator: int = 100
    denominator: int = 100


class Target(NamedTuple):
    """One backend's share. `backend` None stands for one that cannot be used: its share is answered with 500."""

    backend: BackendKey | None
    weight: int = 1
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS


class Retry(NamedTuple):
    """Which requests are sent again, beside those that no backend has seen: how often, and after which pause.

    `on_reset`: the backend went without an answer; `codes`: it answered with one of these.
    """

    on_reset: bool = False
    codes: tuple[int, ...] = ()
    attempts: int = 3
    backoff_seconds: float = 0.025


NO_RETRY = Retry()


class RouteOrder(NamedTuple):
    """Which of several routes that match is taken: the smallest. See HTTPRouteRule's `matches`, upstream."""

    path_kind: int
    path_length: int
    without_method: bool
    headers: int
    queries: int
    is_default: bool
    created: str
    owner: str
    rule: int
    match: int


@dataclass(frozen=True, slots=True)
class Route:
    """Requests that match, and what becomes of them. Without targets and redirect they are answered with `status`.

    `label_only` is a host's domain where exactly one label may stand before it (an Ingress' wildcard).
    `timeout_seconds` None means none; `name` says to people where the route is from.
    """

    name: str
    order: RouteOrder
    path: PathMatch
    targets: tuple[Target, ...] = ()
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    queries: tuple[ValueMatch, ...] = ()
    is_grpc: bool = False
    label_only: str = ""
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    request_headers: HeaderEdits = NO_EDITS
    response_headers: HeaderEdits = NO_EDITS
    timeout_seconds: float | None = None
    backend_timeout_seconds: float | None = None
    retry: Retry = NO_RETRY
    status: int = 500

    @property
    def backends(self) -> Iterable[BackendKey]:
        """All that requests may be sent to."""
        yield from (target.backend for target in self.targets if target.backend is not None)
        yield from (mirror.backend for mirror in self.mirrors)


PATH_KINDS = {"exact": 0, "regex": 1, "prefix": 2}


def make_order(
    path: PathMatch,
    *,
    owner: str,
    created: str,
    rule: int,
    match: int,
    method: str = "",
    headers: int = 0,
    queries: int = 0,
    is_default: bool = False,
) -> RouteOrder:
    """Return a route's place: exact paths first, then the longest, then the most that must match, then the oldest."""
    return RouteOrder(
        PATH_KINDS[path.kind],
        -len(path.value),
        not method,
        -headers,
        -queries,
        is_default,
        created,
        owner,
        rule,
        match,
    )


class DoorKey(NamedTuple):
    """A port, and for TLS the server name ("" any other) by which one comes in."""

    port: int
    protocol: str
    hostname: str = ANY_HOST


@dataclass(frozen=True, slots=True)
class Door:
    """What is behind one door: each hostname's routes, in their order, and the Secrets of its certificates."""

    key: DoorKey
    sites: dict[str, tuple[Route, ...]]
    certificates: tuple[ObjectKey, ...] = ()


def host_matches(pattern: str, hostname: str) -> bool:
    """Tell whether a hostname, or all that a wildcard stands for, is among what `pattern` ("" any) stands for."""
    if not pattern or pattern == hostname:
        return True
    return pattern.startswith("*.") and hostname.endswith(pattern[1:]) and hostname != pattern[1:]


def intersect_hosts(one: str, other: str) -> str | None:
    """Return what both stand for, None where that is nothing."""
    if host_matches(one, other):
        return other
    return one if host_matches(other, one) else None


def specificity(hostname: str) -> tuple[int, int]:
    """Order hostnames: exact ones before wildcards, longer before shorter ones, "" last."""
    if not hostname:
        return (0, 0)
    return (1 if hostname.startswith("*.") else 2, len(hostname))
