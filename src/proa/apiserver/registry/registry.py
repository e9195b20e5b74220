"""Create, read, update and delete the objects of one resource, so that every stored object is whole and allowed.

Follows apiserver/pkg/registry/generic/registry/store.go and registry/rest. Stored bytes are the JSON that clients
get, resourceVersion inside, beginning with the kind (`Versions.head`), so that GET, LIST and WATCH hand
them on without decoding. Writes read `store.latest`, which sees writes not yet durable, so that read-modify-write
loops do not fight their own queue.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

import orjson

from proa.apiserver.claims import Holding, Owner
from proa.apiserver.pace import HEAVY_BYTES, aside, decoded
from proa.apiserver.registry.admission import Face, mutate, mutate_update, validate, validate_update
from proa.apiserver.registry.allocation import Allocation
from proa.apiserver.registry.attributes import Attributes, Plugin
from proa.apiserver.registry.computed import ComputedStore
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.deletion import DeleteOptions, decide, ends_with_update, options_object
from proa.apiserver.registry.metadata import (
    carry_over,
    drop_empty,
    drop_repeated_owners,
    fill_new,
    generate_name,
    match_namespace,
    metadata_of,
    validate_metadata,
)
from proa.apiserver.registry.notes import warn
from proa.apiserver.registry.refusals import (
    already_exists,
    conflict,
    invalid_object,
    not_found,
    unnamed_failure,
)
from proa.apiserver.registry.summaries import Summaries
from proa.apiserver.registry.unwritable import (
    check_name,
    copy_for_status,
    differs,
    keep_all_but_status,
    take,
)
from proa.apiserver.registry.versions import Versions, in_order
from proa.client.protocol import Object, User
from proa.objects.errors import BadRequest, Cause, Invalid
from proa.objects.managed_fields.entries import Entry as FieldsEntry
from proa.objects.managed_fields.entries import is_timing_alone
from proa.objects.resource import Resource
from proa.objects.validation import invalid
from proa.store.protocol import Entry, RevisionMismatch, Store

if TYPE_CHECKING:
    from proa.apiserver.authorization.decision import Authorizer
    from proa.apiserver.registry.catalog import Catalog

NAME_ATTEMPTS = 8
UPDATE_ATTEMPTS = 8
MAX_OBJECT_BYTES = 1536 * 1024
"""As etcd takes by default (--max-request-bytes), in its words."""

Transform = Callable[[Object], Object]
"""Makes the new object of the stored one, which is a private copy."""


Track = Callable[[Object | None, Object], list[FieldsEntry]]
"""Returns the managedFields that a write leaves, given the stored object (None for a create) and the new one."""


class OpenWatch(Protocol):
    """An answer that goes on."""

    def close(self) -> None: ...


class ResourceRegistry:
    """The objects of one `ResourceDefinition` in a store."""

    def __init__(
        self,
        definition: ResourceDefinition,
        store: Store,
        catalog: Catalog,
        plugins: Sequence[Plugin] = (),
    ) -> None:
        resource = definition.resource
        self.definition = definition
        self.resource = resource
        self.store: Store = store
        self.versions = Versions(definition)
        self.stored_as = stored = self.versions.stored
        self.conversion = definition.conversion
        self._hub = self.versions.hub
        self.prefix = f"/registry/{stored.group or 'core'}/{stored.plural}/"
        if definition.computed is not None:
            self.store = ComputedStore(self.prefix, store, definition.computed)
        self.head = self.versions.head
        self.has_status = any(s.name == "status" for s in definition.subresources)
        self._parts = {s.name: s for s in definition.subresources if s.prepare is not None}
        self.watches: WeakSet[OpenWatch] = WeakSet()
        """Those that go on until this resource is served no more, or served by another registry."""
        self.summaries = Summaries(definition.summary, self.head) if definition.summary is not None else None
        self._catalog = catalog
        concerned = [plugin for plugin in plugins if plugin.concerns(self._hub)]
        self._mutating = tuple(plugin.admit for plugin in concerned if plugin.admit is not None)
        self._validating = tuple(plugin.validate for plugin in concerned if plugin.validate is not None)

    def of(self, resource: Resource) -> ResourceRegistry:
        """Return the registry of another resource that must be served."""
        return self._catalog.of(resource)

    def retire(self) -> None:
        """End what goes on, once it has told what has happened: the resource is served no more, or otherwise."""
        for watch in tuple(self.watches):
            asyncio.get_running_loop().call_soon(watch.close)

    @property
    def authorizer(self) -> Authorizer:
        """Return who says what users may do."""
        return self._catalog.authorizer

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self._catalog.now()

    # Reading.

    def key(self, namespace: str, name: str) -> str:
        """Return the store's key of an object."""
        return f"{self.prefix}{namespace}/{name}" if self.resource.namespaced else self.prefix + name

    def scope(self, namespace: str) -> str:
        """Return the prefix of the keys in a namespace ("" for all)."""
        return f"{self.prefix}{namespace}/" if namespace and self.resource.namespaced else self.prefix

    def get(self, namespace: str, name: str) -> bytes:
        """Return an object's bytes as they are stored; raise NotFound."""
        entry = self.store.get(self.key(namespace, name))
        if entry is None:
            raise not_found(self.resource, name)
        return entry.value

    def has(self, namespace: str, name: str) -> bool:
        """Tell whether there is an object of that name, stored or about to be."""
        return self.store.latest(self.key(namespace, name)) is not None

    def find(self, namespace: str, name: str) -> Object | None:
        """Return a private copy of the newest accepted object as it is stored, or None."""
        entry = self.store.latest(self.key(namespace, name))
        return None if entry is None else orjson.loads(entry.value)

    async def read(self, namespace: str, name: str) -> bytes:
        """Return an object's bytes in the version that is served here; raise NotFound."""
        return await self.versions.served_bytes(self.get(namespace, name))

    # Conversion: only where the definition has one.

    @property
    def serves_hub(self) -> bool:
        """Tell whether the definition's rules are for the version that is served."""
        return self._hub == self.resource

    async def served(self, objects: Sequence[Object]) -> list[Object]:
        """Return objects, private copies, in the version that is served here."""
        return await self.versions.to_served(objects)

    async def hub(self, objects: Sequence[Object]) -> list[Object]:
        """Return objects, private copies, in the version that the definition's rules are for."""
        return await self.versions.to_hub(objects)

    async def _hub_of(self, obj: Object) -> Object:
        """Return an object that is to be written, of the served version, in the hub's."""
        (made,) = await self.hub((obj,))
        if self._hub != self.resource:
            self._catalog.of(self._hub).definition.default(made)
        return made

    # Writing.

    async def create(
        self,
        obj: Object,
        namespace: str,
        user: User | None = None,
        *,
        dry_run: bool = False,
        track: Track | None = None,
        options: Object | None = None,
        heavy: bool = False,
        is_judged: bool = False,
    ) -> bytes:
        """Store a new object and return its bytes; raise AlreadyExists, Invalid, Forbidden.

        `obj` is the caller's no longer. Without `track`, its fields are nobody's. What is `heavy` is worked on aside.
        One that `is_judged` comes with this program, whose tests have found it valid.
        """
        resource, definition = self.resource, self.definition
        metadata = metadata_of(obj)
        match_namespace(metadata, namespace if resource.namespaced else "")
        if metadata.get("resourceVersion"):
            raise unnamed_failure("resourceVersion should not be set on objects to be created")
        base = "" if metadata.get("name") else metadata.get("generateName") or ""
        if base:
            metadata["name"] = generate_name(base)
        fill_new(metadata, definition, self._catalog.now())
        obj = in_order(obj, resource)
        if heavy:
            await aside(self._default_new, obj, track)
        else:
            self._default_new(obj, track)
        if self.conversion is not None:
            obj = await self._hub_of(obj)
            metadata = obj["metadata"]
        attributes = self._attributes(
            "CREATE", namespace, metadata.get("name", ""), "", obj, None, user, dry_run, options
        )
        await mutate(self._mutating, attributes)
        if repeated := drop_repeated_owners(metadata, is_admitted=True):
            warn(repeated)
        definition.prepare_create(obj)
        allocation = await self._allocate(obj, None, dry_run)
        is_storing = False
        try:
            drop_empty(metadata)
            if not is_judged:
                await self._judge_new(obj, heavy)
            await validate(self._validating, attributes)
            if dry_run:
                if self.store.latest(self.key(namespace, metadata["name"])) is not None:
                    raise already_exists(resource, metadata["name"])
                return await self.versions.served_bytes(orjson.dumps(obj))
            is_storing = True
            value = await self._store_new(obj, namespace, base)
        except BaseException as error:
            if allocation is not None:
                await allocation.roll_back(error, is_storing=is_storing)
            raise
        if allocation is not None:
            await allocation.commit(metadata["name"])
        return await self.versions.served_bytes(value)

    async def _judge_new(self, obj: Object, heavy: bool) -> None:
        causes = await aside(self._validate_new, obj) if heavy else self._validate_new(obj)
        if causes:
            raise invalid_object(self.resource, obj["metadata"].get("name", ""), causes)
        await self._warn(obj, None, heavy)

    def _default_new(self, obj: Object, track: Track | None) -> None:
        if self.has_status:
            obj.pop("status", None)
        self.definition.default(obj)
        _set_managed_fields(obj["metadata"], track(None, obj) if track else [])

    def _validate_new(self, obj: Object) -> list[Cause]:
        definition = self.definition
        causes = validate_metadata(obj["metadata"], definition)
        return [*causes, *definition.validate(obj), *definition.validate_create(obj)]

    async def review(
        self,
        obj: Object,
        namespace: str,
        user: User | None = None,
        *,
        dry_run: bool = False,
        track: Track | None = None,
    ) -> Object:
        """Return the answer of a kind that is asked and not stored; raise Invalid, Forbidden. `obj` is ours now."""
        definition = self.definition
        assert definition.review is not None
        metadata = metadata_of(obj)
        match_namespace(metadata, namespace if self.resource.namespaced else "")
        obj = in_order(obj, self.resource)
        definition.default(obj)
        _set_managed_fields(metadata, track(None, obj) if track else [])
        attributes = self._attributes("CREATE", namespace, "", "", obj, None, user, dry_run)
        await mutate(self._mutating, attributes)
        causes = definition.validate(obj)
        if causes:
            raise invalid_object(self.resource, "", causes)
        await validate(self._validating, attributes)
        answer = definition.review(attributes)
        return answer if isinstance(answer, dict) else await answer

    async def _allocate(self, new: Object, old: Object | None, dry_run: bool) -> Allocation | None:
        """Take the addresses and ports that the object needs; raise Invalid. None for a kind that has none."""
        if self.definition.allocate is None:
            return None
        allocation = Allocation(self._catalog.allocators, _owner(new), dry_run=dry_run)
        try:
            await self.definition.allocate(new, old, allocation)
        except Invalid as error:
            await allocation.roll_back(error)
            causes = [Cause(c["reason"], c["message"], c["field"]) for c in error.details.get("causes", ())]
            raise invalid_object(self.resource, new["metadata"].get("name", ""), causes) from None
        except BaseException as error:
            await allocation.roll_back(error)
            raise
        return allocation

    async def _store_new(self, obj: Object, namespace: str, base: str) -> bytes:
        if self.conversion is not None:
            obj = await self.versions.to_stored(obj)
        metadata = obj["metadata"]
        for attempt in range(NAME_ATTEMPTS):
            try:
                entry = await self.store.put(
                    self.key(namespace, metadata["name"]), _encoder(obj), expected_revision=0
                )
            except RevisionMismatch:
                if not base or attempt == NAME_ATTEMPTS - 1:
                    raise already_exists(self.resource, metadata["name"]) from None
                metadata["name"] = generate_name(base)
            else:
                return entry.value
        raise AssertionError("unreachable")

    async def update(
        self,
        namespace: str,
        name: str,
        transform: Transform,
        user: User | None = None,
        *,
        subresource: str = "",
        dry_run: bool = False,
        unconditional: bool | None = None,
        track: Track | None = None,
        options: Object | None = None,
        face: Face | None = None,
        is_admitted: bool = False,
        heavy: bool = False,
        replaces: bool = False,
    ) -> bytes:
        """Replace the object by what `transform` makes of it and return its bytes; raise Conflict, Invalid.

        An update that says no resourceVersion, or the one that `transform` was given, is tried again when another
        write comes between. `unconditional` overrides the definition's rule about saying none. Without `track`, who
        has which field stays as it is. What is `heavy`, or changes a large object, is worked on aside. `is_admitted`:
        it is part of what admission has seen as a whole (a Binding). `replaces`: `transform` makes a new object and
        only looks at the old one.
        """
        key = self.key(namespace, name)
        if unconditional is None:
            unconditional = self.definition.unconditional_update
        for _ in range(UPDATE_ATTEMPTS):
            current = self.store.latest(key)
            if current is None:
                raise not_found(self.resource, name)
            is_heavy = heavy or len(current.value) > HEAVY_BYTES
            old = await decoded(current.value)
            if self.conversion is not None:
                old, given = await self.served((old, await decoded(current.value)))
            elif replaces:
                given = old
            elif subresource == "status":
                given = copy_for_status(old)
            else:
                given = await decoded(current.value)
            new = await aside(transform, given) if is_heavy else transform(given)
            said = metadata_of(new).get("resourceVersion")
            if not said and not unconditional:
                cause = invalid("metadata.resourceVersion", 0, "must be specified for an update")
                raise invalid_object(self.resource, name, [cause])
            if said and said != old["metadata"]["resourceVersion"]:
                raise conflict(self.resource, name)
            settled = (namespace, name, subresource, new, old, track)
            causes = await aside(self._settle, *settled) if is_heavy else self._settle(*settled)
            if self.conversion is not None:
                new = await self._hub_of(new)
                if self._hub != self.resource:
                    (old,) = await self.hub((await decoded(current.value),))
            attributes = self._attributes(
                "UPDATE", namespace, name, subresource, new, old, user, dry_run, options
            )
            if not is_admitted:
                await mutate_update(self._mutating, attributes, face)
            if repeated := drop_repeated_owners(new["metadata"], is_admitted=True):
                warn(repeated)
            allocation = await self._prepare_update(attributes, new, old, causes, is_heavy)
            is_storing = False
            try:
                if not is_admitted:
                    await validate_update(self._validating, attributes, face)
                is_storing = True
                value = await self._store_update(key, current, new, old, dry_run, is_heavy)
            except BaseException as error:
                if allocation is not None:
                    await allocation.roll_back(error, is_storing=is_storing)
                if isinstance(error, RevisionMismatch):
                    continue
                raise
            if allocation is not None and not dry_run:
                await allocation.commit(name)
            return await self.versions.served_bytes(value)
        raise conflict(self.resource, name)

    def _settle(
        self, namespace: str, name: str, subresource: str, new: Object, old: Object, track: Track | None
    ) -> list[Cause]:
        """Take from `old` what clients may not write, and default; return what the client tried to change of it."""
        metadata = new["metadata"]
        match_namespace(metadata, namespace if self.resource.namespaced else "")
        check_name(metadata, name)
        causes = carry_over(metadata, old["metadata"])
        if subresource == "status":
            keep_all_but_status(new, old)
        elif (part := self._parts.get(subresource)) is not None and part.prepare is not None:
            part.prepare(new, old)
        elif self.has_status and not subresource:
            take(new, old, "status")
        self.definition.default(new)
        _set_managed_fields(
            metadata, (track(old, new) if track else old["metadata"].get("managedFields")) or []
        )
        return causes

    async def _prepare_update(
        self, attributes: Attributes, new: Object, old: Object, causes: list[Cause], is_heavy: bool
    ) -> Allocation | None:
        """Bring `new` to what may be stored in place of `old`; raise Forbidden, Invalid: `causes` and more."""
        definition, metadata, subresource = self.definition, new["metadata"], attributes.subresource
        if subresource == "status":
            definition.prepare_status_update(new, old)
        elif not subresource:
            definition.prepare_update(new, old)
        counts = subresource in ("", "scale") or subresource in self._parts
        if (
            definition.tracks_generation
            and counts
            and (await aside(differs, new, old) if is_heavy else differs(new, old))
        ):
            metadata["generation"] = max(
                metadata.get("generation") or 0, (old["metadata"].get("generation") or 0) + 1
            )
        drop_empty(metadata)
        allocation = await self._allocate(new, old, attributes.dry_run)
        try:
            if is_heavy:
                causes += await aside(self._validate_update, new, old, subresource)
            else:
                causes += self._validate_update(new, old, subresource)
            if causes:
                raise invalid_object(self.resource, attributes.name, causes)
        except BaseException as error:
            if allocation is not None:
                await allocation.roll_back(error)
            raise
        if not subresource:
            await self._warn(new, old, is_heavy)
        return allocation

    async def _warn(self, new: Object, old: Object | None, is_heavy: bool) -> None:
        warnings = self.definition.warnings
        for text in await aside(lambda: [*warnings(new, old)]) if is_heavy else warnings(new, old):
            warn(text)

    def _validate_update(self, new: Object, old: Object, subresource: str) -> list[Cause]:
        """Return what is refused; other subresources than status have rules of their own handlers."""
        causes = validate_metadata(new["metadata"], self.definition)
        if subresource == "status":
            return causes + self.definition.validate_status_update(new, old)
        if subresource:
            part = self._parts.get(subresource)
            return causes + (part.validate(new, old) if part else [])
        if self.definition.validates_change_alone:
            return causes + self.definition.validate_update(new, old)
        return [*causes, *self.definition.validate(new), *self.definition.validate_update(new, old)]

    async def _store_update(
        self, key: str, current: Entry, new: Object, old: Object, dry_run: bool, is_heavy: bool
    ) -> bytes:
        metadata = new["metadata"]
        metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        if await aside(is_timing_alone, new, old) if is_heavy else is_timing_alone(new, old):
            metadata["managedFields"] = old["metadata"]["managedFields"]
        if ends_with_update(old["metadata"], metadata) and self._may_go(new):
            if dry_run:
                return orjson.dumps(new)
            return (await self._remove(key, await self.versions.to_stored(new), current)).value
        is_same = await aside(operator.eq, new, old) if is_heavy else new == old
        if is_same and self.versions.is_stored_well(current.value) and not self.store.is_stale(key):
            return current.value
        if dry_run:
            return orjson.dumps(new)
        entry = await self.store.put(
            key, _encoder(await self.versions.to_stored(new)), expected_revision=current.revision
        )
        return entry.value

    async def delete(
        self,
        namespace: str,
        name: str,
        options: DeleteOptions,
        user: User | None = None,
        *,
        is_admitted: bool = False,
    ) -> tuple[bytes, bool]:
        """Delete, or begin to; return the object's bytes and whether it is gone. Raise NotFound, Conflict.

        `is_admitted`: it is part of what admission has seen as a whole (an Eviction).
        """
        key, answer = self.key(namespace, name), self.versions.served_bytes
        for _ in range(UPDATE_ATTEMPTS):
            current = self.store.latest(key)
            if current is None:
                raise not_found(self.resource, name)
            shown = old = await decoded(current.value)
            if self.conversion is not None:
                (shown,) = await self.hub((await decoded(current.value),))
            if not is_admitted:
                await self.admit(
                    self._attributes(
                        "DELETE",
                        namespace,
                        name,
                        "",
                        None,
                        shown,
                        user,
                        options.dry_run,
                        options_object(options),
                    )
                )
            begin = self._catalog.deleters.get((self.resource.group, self.resource.plural), decide)
            decision = begin(old, self.definition, options, self._catalog.now())
            try:
                if decision.act == "nothing":
                    return await answer(current.value), False
                if decision.act == "mark" and decision.obj == await decoded(current.value):
                    return await answer(current.value), False  # a write would only wake every watcher
                if options.dry_run:
                    return await answer(orjson.dumps(decision.obj)), decision.act == "remove"
                if decision.act == "remove":
                    return await answer((await self._remove(key, decision.obj, current)).value), True
                entry = await self.store.put(key, _encoder(decision.obj), expected_revision=current.revision)
                return await answer(entry.value), False
            except RevisionMismatch:
                continue
        raise conflict(self.resource, name)

    def _attributes(
        self,
        operation: str,
        namespace: str,
        name: str,
        subresource: str,
        obj: Object | None,
        old: Object | None,
        user: User | None,
        dry_run: bool,
        options: Object | None = None,
    ) -> Attributes:
        definition, asked = self.definition, None
        if self._hub != self.resource:
            definition, asked = self._catalog.of(self._hub).definition, self.definition
        return Attributes(
            operation,
            definition,
            namespace,
            name,
            subresource,
            obj,
            old,
            user,
            self._catalog,
            dry_run,
            options,
            asked,
        )

    async def admit_other(
        self,
        operation: str,
        namespace: str,
        name: str,
        subresource: str,
        obj: Object,
        user: User | None,
        *,
        dry_run: bool = False,
        options: Object | None = None,
    ) -> None:
        """Put what is not stored here (a CONNECT, a subresource's own kind) through admission, which may change it."""
        offered = next(s for s in self.definition.subresources if s.name == subresource)
        obj.setdefault("kind", offered.kind)
        obj.setdefault("apiVersion", offered.api_version or self.resource.api_version)
        await self.admit(
            self._attributes(operation, namespace, name, subresource, obj, None, user, dry_run, options)
        )

    async def admit(self, attributes: Attributes) -> None:
        """Put a write through both phases of admission."""
        await mutate(self._mutating, attributes)
        await validate(self._validating, attributes)

    async def _remove(self, key: str, last: Object, current: Entry) -> Entry:
        held = None if self.definition.holds is None else self.definition.holds(last).claims()
        deletion = self.store.delete(key, _encoder(last), expected_revision=current.revision)
        if held is None:
            return await deletion
        return await self._catalog.allocators.claims.remove_with(deletion, held, _owner(last))

    def _may_go(self, obj: Object) -> bool:
        """Tell whether nothing beside metadata holds the object: a namespace has finalizers of its own."""
        return not (self.resource.plural == "namespaces" and (obj.get("spec") or {}).get("finalizers"))

    def holdings(self) -> Iterator[tuple[Owner, Holding]]:
        """Yield what each stored object has of addresses and ports."""
        assert self.definition.holds is not None
        for entry in self.store.range(self.prefix).entries:
            obj = orjson.loads(entry.value)
            yield _owner(obj), self.definition.holds(obj)


def _owner(obj: Object) -> Owner:
    metadata = obj["metadata"]
    return Owner(metadata.get("namespace", ""), metadata.get("name", ""))


def _encoder(obj: Object) -> Callable[[int], bytes]:
    metadata = obj["metadata"]

    def encode(revision: int) -> bytes:
        metadata.pop("resourceVersion", None)
        metadata["resourceVersion"] = str(revision)  # last, as stored_bytes.py has it
        try:
            value = orjson.dumps(obj)
        except orjson.JSONEncodeError as error:
            raise BadRequest(f"the object cannot be encoded: {error}") from None
        if len(value) > MAX_OBJECT_BYTES:
            raise unnamed_failure("etcdserver: request is too large")
        return value

    return encode


def _set_managed_fields(metadata: dict[str, Any], entries: list[FieldsEntry]) -> None:
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)
