"""Know which objects belong to which node, as of the last acknowledged write: those that the node's pods name.

Watches of the store buffer what changes; whoever asks first takes it in (see bindings.py). What a bound pod names does
not change, so that most writes of pods are passed over undecoded. Follows plugin/pkg/auth/authorizer/node/graph.go and
graph_populator.go.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from proa.apiserver.authorization.object_references import Reference, references_of, volume_secrets
from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass
from proa.store.protocol import Store, Watch, WatchOverflow

PODS = "/registry/core/pods/"
VOLUMES = "/registry/core/persistentvolumes/"
ATTACHMENTS = "/registry/storage.k8s.io/volumeattachments/"
SLICES = "/registry/resource.k8s.io/resourceslices/"
PREFIXES = (PODS, VOLUMES, ATTACHMENTS, SLICES)
_CHANGES = (b'"resourceClaimStatuses"', b'"extendedResourceClaimStatus"')
"""What may add to the objects that a bound pod names."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one stored object gives its node."""

    uid: bytes
    node: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Bound:
    """A PersistentVolume's claim, and the secrets that mounting it needs."""

    claim: Reference
    secrets: tuple[Reference, ...]


class NodeIndex:
    """The objects of a store by node."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watches: dict[str, Watch] = {}
        self._holdings: dict[str, Holding] = {}
        self._counts: dict[Reference, dict[str, int]] = {}
        """For each object: how many others give it to which node."""
        self._volumes: dict[str, Bound] = {}
        self._volumes_with: dict[Reference, set[str]] = {}
        """The volumes whose mounting needs a secret."""

    def refresh(self) -> None:
        """Take in what has changed."""
        for prefix in PREFIXES:
            watch = self._watches.get(prefix)
            if watch is None:
                self._load(prefix)
                continue
            try:
                changes = watch.take()
            except WatchOverflow:
                self._load(prefix)
                continue
            for change in changes:
                self._put(change.key, change.value)

    def belongs(self, reference: Reference, node: str) -> bool:
        """Tell whether an object is the node's, or one of its pods names it; `refresh` first."""
        if node in self._counts.get(reference, ()):
            return True
        if reference.plural == "persistentvolumes":
            bound = self._volumes.get(VOLUMES + reference.name)
            return bound is not None and node in self._counts.get(bound.claim, ())
        volumes = self._volumes_with.get(reference, ())
        return any(node in self._counts.get(self._volumes[key].claim, ()) for key in volumes)

    def _load(self, prefix: str) -> None:
        """Read all objects of a kind, and watch from there."""
        if prefix in self._watches:
            self._watches[prefix].close()
        self._watches[prefix] = self._store.watch(prefix, after_revision=self._store.revision)
        for key in [key for key in (*self._holdings, *self._volumes) if key.startswith(prefix)]:
            self._put(key, None)
        for entry in self._store.range(prefix).entries:
            self._put(entry.key, entry.value)

    def _put(self, key: str, value: bytes | None) -> None:
        """Take in one key's value, None where it is gone."""
        if key.startswith(VOLUMES):
            self._put_volume(key, value)
            return
        known = self._holdings.get(key)
        if known is not None and value is not None and _is_same(known, key, value):
            return
        if known is not None:
            self._drop(key, known)
        if value is not None and b'"nodeName":"' in value:
            held = _read(orjson.loads(value), key)
            if held.node:
                self._holdings[key] = held
                for reference in held.references:
                    nodes = self._counts.setdefault(reference, {})
                    nodes[held.node] = nodes.get(held.node, 0) + 1

    def _drop(self, key: str, known: Holding) -> None:
        del self._holdings[key]
        for reference in known.references:
            nodes = self._counts[reference]
            nodes[known.node] -= 1
            if not nodes[known.node]:
                del nodes[known.node]
                if not nodes:
                    del self._counts[reference]

    def _put_volume(self, key: str, value: bytes | None) -> None:
        old = self._volumes.pop(key, None)
        for secret in old.secrets if old else ():
            self._volumes_with[secret].discard(key)
            if not self._volumes_with[secret]:
                del self._volumes_with[secret]
        volume = orjson.loads(value) if value is not None and b'"claimRef"' in value else {}
        ref = (volume.get("spec") or {}).get("claimRef")
        if ref:
            claim = Reference("persistentvolumeclaims", ref.get("namespace", ""), ref.get("name", ""))
            new = self._volumes[key] = Bound(claim, tuple(volume_secrets(volume)))
            for secret in new.secrets:
                self._volumes_with.setdefault(secret, set()).add(key)


def _is_same(known: Holding, key: str, value: bytes) -> bool:
    """Tell, without decoding, whether a pod is the one that was taken in and names what it named."""
    return key.startswith(PODS) and known.uid in value and not any(mark in value for mark in _CHANGES)


def _read(obj: Object, key: str) -> Holding:
    """Return what a stored pod, VolumeAttachment or ResourceSlice gives to which node."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    uid = f'"uid":"{metadata.get("uid", "")}"'.encode()
    references: Iterable[Reference]
    if key.startswith(PODS):
        references = references_of(obj) if spec.get("nodeName") else ()
    else:
        plural = "volumeattachments" if key.startswith(ATTACHMENTS) else "resourceslices"
        references = (Reference(plural, "", metadata["name"]),)
    return Holding(uid, spec.get("nodeName", ""), tuple(dict.fromkeys(references)))
