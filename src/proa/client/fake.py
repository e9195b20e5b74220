"""Behave as an API server would towards controllers, in memory: for tests, and nothing else.

It keeps what the contract suite (tests/contract/test_client.py) pins: resourceVersion and conflicts, generated
names, uid, generation, the status subresource, selectors, watches with history, finalizers and graceful
deletion, bindings. It does not default, validate, authorize or collect garbage. fake_store.py keeps the objects.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Literal

from proa.client.fake_store import Change, FakeStore, copy_of, decode, place_of
from proa.client.protocol import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    Object,
    ObjectList,
    PatchType,
    PropagationPolicy,
    WatchEvent,
)
from proa.objects import meta, pods
from proa.objects.errors import AlreadyExists, ApiError, BadRequest, Conflict, Invalid, NotFound
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import PODS, Resource
from proa.objects.selectors import parse_field_selector, parse_label_selector

STATUS_KINDS = frozenset((
    "ReplicationController", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod",
    "Node", "Namespace", "Service", "PersistentVolume", "PersistentVolumeClaim", "PodDisruptionBudget",
))  # fmt: skip
"""Kinds whose status only the status subresource writes."""
FIELDS: dict[str, Callable[[Object], str]] = {
    "metadata.name": meta.name,
    "metadata.namespace": meta.namespace,
    "spec.nodeName": pods.node_name,
    "spec.schedulerName": lambda obj: (obj.get("spec") or {}).get("schedulerName", ""),
    "status.phase": lambda obj: (obj.get("status") or {}).get("phase", ""),
    "status.podIP": lambda obj: (obj.get("status") or {}).get("podIP", ""),
    "type": lambda obj: obj.get("type", ""),
    "involvedObject.uid": lambda obj: (obj.get("involvedObject") or {}).get("uid", ""),
    "involvedObject.name": lambda obj: (obj.get("involvedObject") or {}).get("name", ""),
}
"""Fields that a field selector may name."""


@dataclass(frozen=True, slots=True)
class Call:
    """One write that was asked for, in order: what a test may look at."""

    verb: Literal["create", "update", "patch", "delete"]
    resource: Resource
    name: str
    namespace: str
    subresource: str = ""


class FakeClient:
    """`client.protocol.Client` over a dict. `now` returns seconds since the epoch.

    `calls` records writes; `fail_next(error, verb, resource)` makes the next matching call raise.
    """

    def __init__(
        self, objects: Iterable[tuple[Resource, Object]] = (), now: Callable[[], float] = lambda: 0.0
    ):
        self.calls: list[Call] = []
        self._now = now
        self._store = FakeStore()
        self._failures: list[tuple[str, Resource | None, ApiError]] = []
        for resource, obj in objects:
            self.add(resource, obj)

    # For tests

    def add(self, resource: Resource, obj: Object) -> Object:
        """Store an object as it is, status and uid included; return it as stored."""
        copy = copy_of(obj)
        metadata = copy.setdefault("metadata", {})
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", meta.format_time(self._now()))
        if resource.namespaced:
            metadata.setdefault("namespace", "default")
        copy.setdefault("apiVersion", resource.api_version)
        copy.setdefault("kind", resource.kind)
        return self._store.put(resource, copy)

    def peek(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        """Return an object without counting as a call; None when there is none."""
        return self._store.find(resource, name, namespace)

    def all(self, resource: Resource) -> list[Object]:
        """Return all objects of a resource, ordered by namespace and name."""
        return self._store.all(resource)

    def fail_next(self, error: ApiError, verb: str, resource: Resource | None = None) -> None:
        """Let the next call of that verb (get, list, watch, create, update, patch, delete) raise `error`."""
        self._failures.append((verb, resource, error))

    def compact(self) -> None:
        """Forget history, so that watches from before now raise Expired."""
        self._store.compact()

    # Reading

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return one object; raise NotFound."""
        self._fail("get", resource)
        return self._existing(resource, name, namespace)

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
        """Return the objects that match, ordered by namespace and name; the token is the last one's place."""
        self._fail("list", resource)
        picks = _picker(namespace, label_selector, field_selector)
        found = [obj for obj in self.all(resource) if picks(obj)]
        if continue_token:
            after = tuple(continue_token.split("/", 1))
            found = [obj for obj in found if place_of(obj) > after]
        token = ""
        if limit and len(found) > limit:
            found = found[:limit]
            token = "/".join(place_of(found[-1]))
        found = [_only_metadata(obj) for obj in found] if metadata_only else found
        return ObjectList(found, str(self._store.version), token)

    async def watch(
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
        """Yield changes after `resource_version` (none: first everything there is, as ADDED)."""
        self._fail("watch", resource)
        picks = _picker(namespace, label_selector, field_selector)
        seen = int(resource_version or 0)
        if seen == 0:
            seen = self._store.version
            for obj in self.all(resource):
                if picks(obj):
                    yield WatchEvent("ADDED", _only_metadata(obj) if metadata_only else obj)
        try:
            async with aclosing(self._store.changes(seen, timeout_seconds or None)) as changes:
                async for change in changes:
                    if change.resource == resource and (event := _event(change, picks)) is not None:
                        shown = _only_metadata(event.object) if metadata_only else event.object
                        yield WatchEvent(event.type, shown)
        except TimeoutError:
            return

    # Writing

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        """Create and return the object as stored; raise AlreadyExists, Invalid."""
        copy = copy_of(obj)
        metadata = copy.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._generate_name(
                resource, metadata["generateName"], meta.namespace(copy) or namespace
            )
        self._record(
            "create", resource, metadata.get("name", ""), namespace or metadata.get("namespace") or ""
        )
        if not metadata.get("name"):
            raise Invalid(
                f'{resource.kind} "" is invalid: metadata.name: Required value: name or generateName is required'
            )
        if resource.namespaced:
            metadata["namespace"] = _agreed_namespace(metadata.get("namespace"), namespace)
        if metadata.get("resourceVersion"):
            raise BadRequest("resourceVersion should not be set on objects to be created")
        if self._store.find(resource, metadata["name"], meta.namespace(copy)) is not None:
            raise AlreadyExists(
                f'{resource.qualified_name} "{metadata["name"]}" already exists',
                name=metadata["name"],
                group=resource.group,
                kind=resource.plural,
            )
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": meta.format_time(self._now())}
        for unset in ("deletionTimestamp", "deletionGracePeriodSeconds"):
            metadata.pop(unset, None)
        if resource.kind in STATUS_KINDS:
            metadata["generation"] = 1
            copy.pop("status", None)
            if resource == PODS:
                copy["status"] = {"phase": "Pending"}
        copy |= {"apiVersion": resource.api_version, "kind": resource.kind}
        return self._store.put(resource, copy)

    def _generate_name(self, resource: Resource, prefix: str, namespace: str | None) -> str:
        """Return a name that is free, as the API server tries again when a random one is taken."""
        while True:
            name = prefix + meta.random_suffix()
            if self._store.find(resource, name, namespace or "") is None:
                return name

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """Replace the object (or its status) of the same name; raise Conflict when it has changed."""
        namespace = meta.namespace(obj) or None
        self._record("update", resource, meta.name(obj), namespace or "", subresource)
        stored = self._existing(resource, meta.name(obj), namespace)
        return self._replace(resource, stored, copy_of(obj), subresource)

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
        """Apply `patch` and return the object as stored."""
        self._record("patch", resource, name, namespace or "", subresource)
        old = self._existing(resource, name, namespace)
        new = copy_of(_patched(old, patch, patch_type, resource))
        if subresource == "scale":
            return _scale_of(self._replace(resource, old, {**copy_of(old), "spec": new["spec"]}, ""))
        return self._replace(resource, old, new, subresource)

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
        self._record("delete", resource, name, namespace or "")
        obj = self._existing(resource, name, namespace)
        metadata = obj["metadata"]
        for what, wanted, actual in (
            ("UID", uid, metadata["uid"]),
            ("ResourceVersion", resource_version, metadata["resourceVersion"]),
        ):
            if wanted and wanted != actual:
                raise Conflict(
                    f'Operation cannot be fulfilled on {resource.kind} "{name}": the {what} in the precondition '
                    f"({wanted}) does not match the {what} in record ({actual}). The object might have been "
                    f"{'deleted and then recreated' if what == 'UID' else 'modified'}"
                )
        finalizer = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(propagation_policy or "")
        if finalizer and finalizer not in meta.finalizers(obj):
            metadata["finalizers"] = [*meta.finalizers(obj), finalizer]
        grace = _grace_seconds(resource, obj, grace_period_seconds)
        if meta.finalizers(obj) or grace > 0:
            shorter = grace < metadata.get("deletionGracePeriodSeconds", grace + 1)
            if not meta.is_deleting(obj) or shorter:
                metadata["deletionTimestamp"] = meta.format_time(self._now() + grace)
                metadata["deletionGracePeriodSeconds"] = grace
                if "generation" in metadata:
                    metadata["generation"] += 1
            return self._store.put(resource, obj)
        self._store.remove(resource, obj)
        if resource == PODS:
            return obj
        details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": metadata["uid"]}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {key: value for key, value in details.items() if value},
        }

    async def create_subresource(
        self, resource: Resource, name: str, subresource: str, obj: Object, namespace: str | None = None
    ) -> Object:
        """POST to a pod's `binding` or `eviction`."""
        if resource == PODS and subresource == "eviction":
            await self.delete(PODS, name, namespace, **_eviction_options(obj))
            return _success(201)
        if resource != PODS or subresource != "binding":
            raise NotFound("the server could not find the requested resource")
        self._record("create", resource, name, namespace or "", subresource)
        pod = self._existing(resource, name, namespace)
        if pods.node_name(pod):
            raise Conflict(
                f'Operation cannot be fulfilled on pods/binding "{name}": pod {name} is already assigned to node '
                f'"{pods.node_name(pod)}"'
            )
        if meta.uid(obj) not in ("", meta.uid(pod)):
            raise Conflict(f'Operation cannot be fulfilled on pods/binding "{name}": uid mismatch')
        pod["spec"]["nodeName"] = obj["target"]["name"]
        status = pod.setdefault("status", {})
        conditions = status.get("conditions") or []
        status["conditions"] = meta.with_condition(conditions, "PodScheduled", "True", "", "", self._now())
        if annotations := meta.annotations(obj):
            pod["metadata"]["annotations"] = {**meta.annotations(pod), **annotations}
        self._store.put(resource, pod)
        return _success(201)

    async def request(self, method: str, path: str, body: object = None) -> Object:
        """Refuse: there is no discovery here."""
        raise NotFound("the server could not find the requested resource")

    async def read(self, path: str, *, limit_bytes: int = 0) -> bytes:
        """Refuse: there are no logs here."""
        raise NotFound("the server could not find the requested resource")

    async def close(self) -> None:
        """End all watches."""
        self._store.close()

    def _existing(self, resource: Resource, name: str, namespace: str | None) -> Object:
        stored = self._store.find(resource, name, namespace or "")
        if stored is None:
            raise NotFound(
                f'{resource.qualified_name} "{name}" not found',
                name=name,
                group=resource.group,
                kind=resource.plural,
            )
        return stored

    def _replace(self, resource: Resource, old: Object, new: Object, subresource: str) -> Object:
        """Store `new` in place of `old` by the rules of an update, and collect what loses its last finalizer."""
        metadata, before = new["metadata"], old["metadata"]
        if metadata.get("resourceVersion") not in (None, "", before["resourceVersion"]):
            raise Conflict(
                f'Operation cannot be fulfilled on {resource.qualified_name} "{before["name"]}": the object has been '
                "modified; please apply your changes to the latest version and try again",
                name=before["name"],
                group=resource.group,
                kind=resource.plural,
            )
        if metadata.get("uid") not in (None, "", before["uid"]):
            raise Conflict(
                f'Operation cannot be fulfilled on {resource.qualified_name} "{before["name"]}": Precondition failed: '
                f"UID in precondition: {metadata['uid']}, UID in object meta: {before['uid']}"
            )
        if subresource == "status":
            # Annotations may come along, as in upstream's status strategies: deployment revisions do.
            annotations = metadata.get("annotations")
            new = {**old, "status": new.get("status") or {}}
            new["metadata"] = metadata = {k: v for k, v in before.items() if k != "annotations"}
            if annotations:
                metadata["annotations"] = annotations
        elif subresource:
            raise NotFound("the server could not find the requested resource")
        elif resource.kind in STATUS_KINDS:
            new["status"] = old.get("status") or {}
        system = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
        for key in (*system, "resourceVersion", "name", "namespace"):
            if key in before:
                metadata[key] = before[key]
            else:
                metadata.pop(key, None)
        new |= {"apiVersion": resource.api_version, "kind": resource.kind}
        if "generation" in metadata and _desired(new) != _desired(old):
            metadata["generation"] += 1
        if (
            meta.is_deleting(new)
            and not meta.finalizers(new)
            and not metadata.get("deletionGracePeriodSeconds")
        ):
            self._store.remove(resource, new)
            return new
        if new == old:
            return new
        return self._store.put(resource, new)

    def _record(
        self, verb: Any, resource: Resource, name: str, namespace: str, subresource: str = ""
    ) -> None:
        self.calls.append(Call(verb, resource, name, namespace, subresource))
        self._fail(verb, resource)

    def _fail(self, verb: str, resource: Resource) -> None:
        for planned in self._failures:
            if planned[0] == verb and planned[1] in (None, resource):
                self._failures.remove(planned)
                raise planned[2]


def _only_metadata(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _desired(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def _agreed_namespace(own: str | None, asked: str | None) -> str:
    if own and asked and own != asked:
        raise BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if not (own or asked):
        raise BadRequest("an empty namespace may not be set during creation")
    return own or asked or ""


def _picker(namespace: str | None, label_selector: str, field_selector: str) -> Callable[[Object], bool]:
    labels = parse_label_selector(label_selector)
    fields = parse_field_selector(field_selector)
    for name, _, _ in fields.requirements:
        if name not in FIELDS:
            raise BadRequest(f'"{name}" is not a known field selector: only {", ".join(FIELDS)}')

    def picks(obj: Object) -> bool:
        return (
            (not namespace or meta.namespace(obj) == namespace)
            and labels.matches(meta.labels(obj))
            and fields.matches({name: FIELDS[name](obj) for name, _, _ in fields.requirements})
        )

    return picks


def _event(change: Change, picks: Callable[[Object], bool]) -> WatchEvent | None:
    """Return what a watch with this selector sees: an object that leaves its sight is DELETED."""
    was = change.before is not None and picks(decode(change.before))
    last = decode(change.last)
    if change.after is not None and picks(last):
        return WatchEvent("MODIFIED" if was else "ADDED", last)
    return WatchEvent("DELETED", last) if was else None


def _grace_seconds(resource: Resource, obj: Object, asked: int | None) -> int:
    """Only a pod that a kubelet may be running is given time."""
    if resource != PODS or not pods.node_name(obj) or pods.is_terminated(obj):
        return 0
    wanted = asked if asked is not None else obj["spec"].get("terminationGracePeriodSeconds", 30)
    return int(wanted)


def _eviction_options(eviction: Object) -> dict[str, Any]:
    grace = (eviction.get("deleteOptions") or {}).get("gracePeriodSeconds")
    return {} if grace is None else {"grace_period_seconds": grace}


def _success(code: int) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}


def _scale_of(obj: Object) -> Object:
    """Return what the scale subresource answers."""
    replicas = obj["spec"].get("replicas", 1)
    spec = {"replicas": replicas}
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": obj["metadata"], "spec": spec}


def _patched(old: Object, patch: Any, patch_type: PatchType, resource: Resource) -> Object:
    from proa.objects.patch.json_patch import apply_json_patch
    from proa.objects.patch.merge_patch import apply_merge_patch
    from proa.objects.patch.strategic_merge import apply_strategic_merge
    from proa.objects.schemas.load import schema_for_kind

    if patch_type == JSON_PATCH:
        return apply_json_patch(old, patch)
    if patch_type == MERGE_PATCH:
        return apply_merge_patch(old, patch)
    if patch_type == STRATEGIC_MERGE_PATCH:
        return apply_strategic_merge(old, patch, schema_for_kind(resource.api_version, resource.kind))
    raise BadRequest(f"the fake client does not know {patch_type}")
