"""The shape of a controller: which changes concern it, and how one key is reconciled.

Follows controller-runtime's pkg/reconcile/reconcile.go: level-based, safe to run twice, at most one run of a
key at a time. The manager (manager.py) owns the loops, queues and back-off; a controller owns none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from proa.client.protocol import Client, Object
from proa.objects.resource import Resource


class Key(NamedTuple):
    """What is reconciled: the namespace ("" for cluster-scoped) and name of the object."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconcile found: nothing left to do, or look again in `requeue_after` seconds."""

    requeue_after: float = 0.0


DONE = Result()


class TerminalError(Exception):
    """Retrying cannot help until the object changes: log once, do not back off and retry."""


class Cache(Protocol):
    """One informer's view of a resource: eventually consistent, never mutated by its readers."""

    def get(self, name: str, namespace: str = "") -> Object | None: ...

    def list(self, namespace: str | None = None) -> list[Object]: ...

    def by_index(self, index: str, value: str) -> list[Object]:
        """Return the objects that the named index (see informer.INDEXES) puts under `value`."""


class EventRecorder(Protocol):
    """Writes Events: `type` is Normal or Warning, `reason` CamelCase. Repeats are counted, not repeated."""

    def event(self, obj: Object, type: str, reason: str, message: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Context:
    """All that a controller may use. `now` returns seconds since the epoch; `random` as `random.random`."""

    client: Client
    caches: Callable[[Resource], Cache]
    events: EventRecorder
    now: Callable[[], float]
    random: Callable[[], float]
    settings: Any = None


@dataclass(frozen=True, slots=True)
class Watch:
    """Changes of `resource` concern the keys that `keys_of(obj)` names (default: the object's own)."""

    resource: Resource
    keys_of: Callable[[Object], Iterable[Key]] | None = None


class Controller(Protocol):
    """A module or object with these names; see docs/adding-a-controller.md."""

    NAME: str
    WATCHES: tuple[Watch, ...]

    async def reconcile(self, context: Context, key: Key) -> Result: ...
