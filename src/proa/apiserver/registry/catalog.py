"""Know every resource that is served, and what all share: store, admission, authorization, allocators and clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from proa.apiserver.allocators import ClusterAllocators
from proa.apiserver.authorization.decision import AlwaysAllow, Authorizer
from proa.apiserver.registry.attributes import Plugin
from proa.apiserver.registry.conversion import converted, stored_resource
from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.deletion import Decision, DeleteOptions
from proa.apiserver.registry.derived import Derived
from proa.apiserver.registry.registry import ResourceRegistry
from proa.client.protocol import Object
from proa.objects.resource import Resource
from proa.store.protocol import Store

if TYPE_CHECKING:
    from proa.apiserver.policies.bindings import Policies
    from proa.apiserver.tokens.authenticator import Authenticator
    from proa.apiserver.webhooks.webhooks import Webhooks

T = TypeVar("T")
Deleter = Callable[[Object, ResourceDefinition, DeleteOptions, float], Decision]


class Catalog:
    """The registries, by group version and plural."""

    def __init__(
        self,
        definitions: Iterable[ResourceDefinition],
        store: Store,
        allocators: ClusterAllocators,
        plugins: Sequence[Plugin],
        now: Callable[[], float],
        deleters: dict[tuple[str, str], Deleter],
    ) -> None:
        self.store = store
        self.allocators = allocators
        self.now = now
        self.deleters = deleters
        self.group_versions: dict[tuple[str, str], dict[str, ResourceRegistry]] = {}
        self.follow: Callable[[], None] = lambda: None
        """Takes in what the stored definitions of kinds say: who looks for a kind that may be custom calls it first."""
        self.generation = 0
        """Rises whenever what is served changes: what was made of the catalog (discovery, OpenAPI) is made again."""
        self.authorizer: Authorizer = AlwaysAllow()
        """Whom admission and reviews ask what somebody may do."""
        self.listeners: list[Callable[[], None]] = []
        """Called when what is served has changed."""
        self.webhooks: Webhooks | None = None
        """What admission webhooks are called with; none are called without."""
        self.policies: Policies | None = None
        """The admission policies; none are looked at without."""
        self.tokens: Authenticator | None = None
        """Who judges the tokens that a TokenReview asks about."""
        self._plugins = plugins
        self._derived: dict[Callable[[Catalog], Any], Derived[Any]] = {}
        for definition in definitions:
            self.add(definition)

    def add(self, definition: ResourceDefinition) -> ResourceRegistry:
        """Serve a resource from now on, in place of what was served under its name."""
        resource = definition.resource
        registry = ResourceRegistry(definition, self.store, self, self._plugins)
        found = self.group_versions.setdefault((resource.group, resource.version), {})
        if resource.plural in found:
            found[resource.plural].retire()
        found[resource.plural] = registry
        self._note_change()
        return registry

    def remove(self, resource: Resource) -> None:
        """Serve a resource no more; a version without resources goes too."""
        found = self.group_versions[resource.group, resource.version]
        found.pop(resource.plural).retire()
        if not found:
            del self.group_versions[resource.group, resource.version]
        self._note_change()

    def _note_change(self) -> None:
        self.generation += 1
        for listener in self.listeners:
            listener()

    def find(self, group: str, version: str, plural: str) -> ResourceRegistry | None:
        """Return a resource's registry, or None."""
        found = self.group_versions.get((group, version))
        return found.get(plural) if found else None

    def of(self, resource: Resource) -> ResourceRegistry:
        """Return the registry of a resource that must be served."""
        return self.group_versions[resource.group, resource.version][resource.plural]

    def has(self, resource: Resource) -> bool:
        """Tell whether a resource is served."""
        return self.find(resource.group, resource.version, resource.plural) is not None

    def versions_of(self, definition: ResourceDefinition) -> list[ResourceRegistry]:
        """Return the registries that serve the same objects, in any group and version: `definition`'s own too."""
        stored = stored_resource(definition)
        return [
            registry
            for registries in self.group_versions.values()
            for registry in registries.values()
            if registry.stored_as == stored
        ]

    async def convert(self, objects: Sequence[Object], to: Resource) -> list[Object]:
        """Return private copies of objects of one resource in the version of `to`, which is served."""
        registry = self.of(to)
        conversion = registry.definition.conversion
        if conversion is None:
            foreign = next((o["apiVersion"] for o in objects if o["apiVersion"] != to.api_version), None)
            if foreign is None:
                return list(objects)
            others = self.versions_of(registry.definition)
            conversion = next(r.definition.conversion for r in others if r.resource.api_version == foreign)
            assert conversion is not None
        return await converted(conversion.convert, objects, to)

    def derived(self, make: Callable[[Catalog], T], *resources: Resource) -> T:
        """Return `make(catalog)`, a value that nobody changes, made again once objects of `resources` have changed."""
        found = self._derived.get(make)
        if found is None:
            found = self._derived[make] = Derived(self.store, resources, lambda: make(self))
        value: T = found.value()
        return value

    def namespace_state(self, name: str) -> tuple[bool, bool]:
        """Tell whether a namespace exists, and whether it is being deleted."""
        entry = self.store.latest(f"/registry/core/namespaces/{name}")
        if entry is None:
            return False, False
        return True, b'"deletionTimestamp"' in entry.value and _is_going(entry.value)

    def look_at_claims(self) -> None:
        """See which of the addresses and ports that stored objects have are claimed, and which claims are nobody's."""
        holding = [
            registry
            for registries in self.group_versions.values()
            for registry in registries.values()
            if registry.definition.holds is not None and registry.stored_as == registry.resource
        ]
        self.allocators.claims.look(held for registry in holding for held in registry.holdings())

    async def repair_claims(self) -> None:
        """Claim what is not claimed, and give back what is nobody's; raise StoreError."""
        self.look_at_claims()
        await self.allocators.claims.repair()


def _is_going(value: bytes) -> bool:
    return bool(orjson.loads(value)["metadata"].get("deletionTimestamp"))
