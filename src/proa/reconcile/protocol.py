"""The shape of a controller: which changes concern it, and how one key is reconciled.

Follows controller-runtime's pkg/reconcile/reconcile.go: level-based, safe to run twice, at most one run of a
key at a time. The manager (manager.py) owns the loops, queues and back-off; a controller owns none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from proa.client.protocol import Client, Object
from proa.objects.quick_dataclass import dataclass
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

    def list(self, namespace: str | None = None) -> Sequence[Object]: ...

    def by_index(self, index: str, value: str) -> Sequence[Object]:
        """Return the objects that the named index (see indexes.INDEXES) puts under `value`."""

    def wrote(self, obj: Object) -> None:
        """Take in what a write of ours returned, so that the next read sees it before the watch tells of it.

        Nothing happens where the watch is already past obj's resourceVersion: it knows better. Later
        events of an older resourceVersion do not undo it (client-go's tools/cache/mutation_cache.go).
        """

    def removed(self, name: str, namespace: str, uid: str) -> None:
        """Forget an object that a delete of ours has ended at once; events under way do not revive it."""


class Caches(Protocol):
    """Finds caches; raises KeyError where no controller watches that."""

    def __call__(
        self, resource: Resource, field_selector: str = "", label_selector: str = "", /
    ) -> Cache: ...


class EventRecorder(Protocol):
    """Writes Events: `type` is Normal or Warning, `reason` CamelCase. Repeats are counted, not repeated."""

    def event(self, obj: Object, type: str, reason: str, message: str, field_path: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class Context:
    """All that a controller may use. `now` returns seconds since the epoch; `random` as `random.random`."""

    client: Client
    caches: Caches
    events: EventRecorder
    now: Callable[[], float]
    random: Callable[[], float]
    settings: Any = None


@dataclass(frozen=True, slots=True)
class Watch:
    """Changes of `resource` concern the keys that `keys_of(obj)` names (default: the object's own).

    Where the object alone does not tell (which Services select this Pod?), `find_keys(obj, caches)` does.
    On a change both the old and the new object are asked. `no_keys` as `keys_of` wants the cache only.
    With `field_selector` or `label_selector` only what they select is watched and cached, in a cache of its own. A
    change of an object that was there before concerns nobody where `ignores(old, new)` says so (a node's heartbeats).
    """

    resource: Resource
    keys_of: Callable[[Object], Iterable[Key]] | None = None
    find_keys: Callable[[Object, Caches], Iterable[Key]] | None = None
    field_selector: str = ""
    ignores: Callable[[Object, Object], bool] | None = None
    label_selector: str = ""


def no_keys(_: Object) -> Iterable[Key]:
    """Name no key: for resources that a reconcile reads from the cache without being woken by them."""
    return ()


class Controller(Protocol):
    """A module or object with these names; see docs/adding-a-controller.md.

    `ACCOUNT`, where it has one, names the service account of kube-system whose roles say what it may do;
    `COMPONENT` what its events say that they come from.
    """

    @property
    def NAME(self) -> str: ...

    @property
    def WATCHES(self) -> Sequence[Watch]: ...

    async def reconcile(self, context: Context, key: Key) -> Result: ...


class SelfWatching(Controller, Protocol):
    """A controller that watches what it only learns at run time (the garbage collector: every resource)."""

    async def run(self, context: Context, enqueue: Callable[[Key], None]) -> None:
        """Watch until cancelled, calling `enqueue` for each key to reconcile; a task of the manager's."""
