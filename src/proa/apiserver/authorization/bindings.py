"""Know which role bindings name whom, as of the last acknowledged write.

The bindings are indexed by subject. A watch of the store buffers what changes; whoever asks first takes it in, so that
nothing runs between requests and a binding counts as soon as its writer has the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from proa.client.protocol import Object, User
from proa.objects.quick_dataclass import dataclass
from proa.objects.validation import quote
from proa.store.protocol import Store, Watch, WatchOverflow

PREFIX = "/registry/rbac.authorization.k8s.io/"
_CLUSTER = f"{PREFIX}clusterrolebindings/"
_NAMESPACED = f"{PREFIX}rolebindings/"
Subject = tuple[str, str]
"""("User", name) or ("Group", name); a service account is the user that it is authenticated as."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What authorization reads of a RoleBinding, or (with no namespace) of a ClusterRoleBinding."""

    name: str
    namespace: str
    role_kind: str
    role_name: str
    subjects: tuple[tuple[Subject, str, str], ...]
    """Each subject, its kind, and what a reason calls it."""

    def describe(self, shown: str) -> str:
        """Return the binding as upstream's reasons show it."""
        kind, name = ("RoleBinding", f"{self.name}/{self.namespace}") if self.namespace else (
            "ClusterRoleBinding",
            self.name,
        )  # fmt: skip
        return f"{kind} {quote(name)} of {self.role_kind} {quote(self.role_name)} to {shown}"


class BindingIndex:
    """The bindings of a store, by namespace ("" for the cluster's) and subject."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watch: Watch | None = None
        self._bindings: dict[str, Binding] = {}
        self._by_subject: dict[tuple[str, Subject], dict[str, Binding]] = {}

    def refresh(self) -> bool:
        """Take in what has changed; tell whether any role or binding has."""
        if self._watch is None:
            return self._load()
        try:
            changes = self._watch.take()
        except WatchOverflow:
            return self._load()
        for change in changes:
            self._put(change.key, change.value)
        return bool(changes)

    def of(self, user: User, namespace: str) -> Iterator[tuple[Binding, str]]:
        """Yield each binding for `user`, and the first subject that names it: the cluster's, then the namespace's."""
        subjects = [("User", user.name), *(("Group", group) for group in user.groups)]
        for scope in ("", namespace) if namespace else ("",):
            found: dict[str, Binding] = {}
            for subject in subjects:
                found.update(self._by_subject.get((scope, subject), {}))
            for _, binding in sorted(found.items()):
                yield (
                    binding,
                    next(f"{kind} {quote(name)}" for it, kind, name in binding.subjects if it in subjects),
                )

    def _load(self) -> bool:
        """Read all bindings, and watch from there."""
        if self._watch is not None:
            self._watch.close()
        self._watch = self._store.watch(PREFIX, after_revision=self._store.revision)
        self._bindings.clear()
        self._by_subject.clear()
        for prefix in (_CLUSTER, _NAMESPACED):
            for entry in self._store.range(prefix).entries:
                self._put(entry.key, entry.value)
        return True

    def _put(self, key: str, value: bytes | None) -> None:
        """Take in one key's value, None where it is gone."""
        if not key.startswith((_CLUSTER, _NAMESPACED)):
            return
        old = self._bindings.pop(key, None)
        if old is not None:
            for place in _places(old):
                self._by_subject[place].pop(key, None)
                if not self._by_subject[place]:
                    del self._by_subject[place]
        if value is not None:
            new = self._bindings[key] = read_binding(orjson.loads(value))
            for place in _places(new):
                self._by_subject.setdefault(place, {})[key] = new


def read_binding(obj: Object) -> Binding:
    """Return what matters of a stored binding."""
    metadata, ref = obj["metadata"], obj["roleRef"]
    namespace = metadata.get("namespace", "")
    subjects = tuple(_subjects(obj.get("subjects") or (), namespace))
    return Binding(metadata["name"], namespace, ref["kind"], ref["name"], subjects)


def _subjects(subjects: Iterable[dict[str, Any]], namespace: str) -> Iterator[tuple[Subject, str, str]]:
    for subject in subjects:
        kind, name = subject.get("kind", ""), subject.get("name", "")
        if kind == "ServiceAccount":
            space = subject.get("namespace") or namespace
            if space:
                user = f"system:serviceaccount:{space}:{name}"
                yield ("User", user), kind, f"{name}/{space}"
        elif kind in ("User", "Group"):
            yield (kind, name), kind, name


def _places(binding: Binding) -> set[tuple[str, Subject]]:
    return {(binding.namespace, subject) for subject, _, _ in binding.subjects}
