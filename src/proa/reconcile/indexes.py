"""Find the objects of a cache by what they hold: each index is built when first asked for, then kept in step.

Follows client-go's tools/cache/thread_safe_store.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from proa.client.protocol import Object
from proa.objects import meta, pods, resource_claims

IndexFunction = Callable[[Object], Iterable[str]]
"""Returns the values under which to find an object."""
Place = tuple[str, str]
"""Namespace ("" for cluster-scoped) and name."""
_Index = dict[str, dict[Place, Object]]


def _owners(obj: Object) -> Iterable[str]:
    return (reference["uid"] for reference in meta.owner_references(obj))


def _controller(obj: Object) -> Iterable[str]:
    reference = meta.controller_of(obj)
    return (reference["uid"],) if reference else ()


def _uncontrolled(obj: Object) -> Iterable[str]:
    return () if meta.controller_of(obj) else (meta.namespace(obj),)


def _orphan_labels(obj: Object) -> Iterable[str]:
    if meta.controller_of(obj):
        return ()
    space = meta.namespace(obj)
    return (f"{space}/{key}={value}" for key, value in meta.labels(obj).items())


def _node(obj: Object) -> Iterable[str]:
    return (pods.node_name(obj),)


def _labels(obj: Object) -> Iterable[str]:
    return (f"{key}={value}" for key, value in meta.labels(obj).items())


def _resource_claims(obj: Object) -> Iterable[str]:
    return (f"{meta.namespace(obj)}/{name}" for name, _ in resource_claims.claim_names(obj))


def _selector(obj: Object) -> Iterable[str]:
    """Name one label that a Service's pods must have: the first of its selector."""
    selector = (obj.get("spec") or {}).get("selector") or {}
    first = min(selector.items(), default=None)
    return (f"{meta.namespace(obj)}/{first[0]}={first[1]}",) if first else ()


INDEXES: dict[str, IndexFunction] = {
    "namespace": lambda obj: (meta.namespace(obj),),
    "owner": _owners,
    "controller": _controller,
    "uncontrolled": _uncontrolled,
    "orphan-label": _orphan_labels,
    "node": _node,
    "label": _labels,
    "selector": _selector,
    "uid": lambda obj: (meta.uid(obj),),
    "resource-claim": _resource_claims,
}
"""What `by_index` knows: the uids of all owners; that of the controlling owner; the namespace of what has none, and
that with each label as "namespace/key=value"; spec.nodeName ("" for a pod that has none); each label as "key=value";
of a Service one label of its selector, as "namespace/key=value"; the object's own namespace and uid;
"namespace/name" of each ResourceClaim that a pod uses."""


class Indexes:
    """The indexes over `objects`, which whoever changes it tells of with `change`."""

    def __init__(self, objects: Mapping[Place, Object]) -> None:
        self._objects = objects
        self._functions = dict(INDEXES)
        self._built: dict[str, _Index] = {}

    def add(self, name: str, function: IndexFunction) -> None:
        """Define an index beside INDEXES."""
        self._functions[name] = function
        self._built.pop(name, None)

    def find(self, name: str, value: str) -> Sequence[Object]:
        """Return the objects under `value`; raise KeyError for an unknown index."""
        built = self._built.get(name)
        if built is None:
            built = self._build(name)
        return [*built.get(value, {}).values()]

    def change(self, place: Place, old: Object | None, new: Object | None) -> None:
        """Take in that `new` stands where `old` stood; None: nothing."""
        for name, built in self._built.items():
            _change(built, self._functions[name], place, old, new)

    def _build(self, name: str) -> _Index:
        built: _Index = {}
        function = self._functions[name]
        for place, obj in self._objects.items():
            _change(built, function, place, None, obj)
        self._built[name] = built
        return built


def _change(
    built: _Index, function: IndexFunction, place: Place, old: Object | None, new: Object | None
) -> None:
    kept = set(function(new)) if new is not None else set()
    for value in function(old) if old is not None else ():
        bucket = built.get(value)
        if bucket is not None and value not in kept:
            bucket.pop(place, None)
            if not bucket:
                del built[value]
    if new is not None:
        for value in kept:
            built.setdefault(value, {})[place] = new
