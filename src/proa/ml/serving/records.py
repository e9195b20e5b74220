"""The words that the parts of serving share: a pod's load, who gets how much of the traffic."""

from __future__ import annotations

from typing import Any, NamedTuple

Object = dict[str, Any]


class Load(NamedTuple):
    """What a pod tells at GET / of its load port, as JSON: counters that only grow while `instance` is the same.

    The mean concurrency between two samples is the difference of `busy_seconds` over that of `seconds`, the requests a
    second likewise: a sample that is missed loses nothing.
    """

    instance: str
    """Of this start of the process; other counters are not compared with those of another."""
    seconds: float
    """Since the start."""
    busy_seconds: float
    """The integral of requests in hand (being answered and waiting) over time."""
    requests: int
    """How many came."""
    in_hand: int
    """How many are being answered or wait now."""


class Share(NamedTuple):
    """How much of a component's traffic a revision gets, of 100; `tag` "" or an address' prefix of its own."""

    revision: str
    percent: int
    is_latest: bool
    tag: str = ""


class Probe(NamedTuple):
    """How to ask whether a pod answers: an HTTP GET of `path`, or only a connection where that is ""."""

    port: int
    path: str = ""
    host: str = ""
    """As its Host header says it; "" for the pod's address."""


class Backend(NamedTuple):
    """A pod of a revision that runs: where it listens."""

    name: str
    address: str
    http_port: int
    grpc_port: int
    probe: Probe
    is_ready: bool
    """The kubelet says so; while it does not, whoever has a request for it may ask the pod itself."""


class Backends(NamedTuple):
    """All that a request for a revision may go to, and how."""

    pods: tuple[Backend, ...]
    container_concurrency: int
    """Requests that a pod answers at once, 0 for any number."""
    timeout_seconds: float
    """Until the first of an answer."""
