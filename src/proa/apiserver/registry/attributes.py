"""What admission plugins see of a write, and their shape: apiserver/pkg/admission/attributes.go, interfaces.go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any

from proa.apiserver.registry.definition import ResourceDefinition
from proa.client.protocol import Object, User
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource

if TYPE_CHECKING:
    from proa.apiserver.registry.catalog import Catalog


@dataclass(slots=True)
class Reinvocation:
    """The second round of the mutating phase: apiserver/pkg/admission/reinvocation.go.

    A plugin that asks others (webhooks, policies) sets `needed` when what they answered changes the object; then every
    plugin of the phase is asked once more, with `is_second`. `memory` is what such a plugin keeps from the first round
    for the second, by its name.
    """

    needed: bool = False
    is_second: bool = False
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Attributes:
    """A write. `obj` may be changed in the mutating phase; `old` never. `obj` is None for a delete.

    `operation` is CREATE, UPDATE, DELETE or CONNECT. `obj` is of the definition's kind, also for the status
    subresource; for a subresource with a kind of its own (Binding, Eviction, Scale, PodExecOptions) it is that.
    `request_definition` is that of the version that the client used, where that is not the definition's: what matches
    by kind or shows the object to others (webhooks) goes by it, and `catalog.convert` brings objects there.
    `options` are the CreateOptions, UpdateOptions, PatchOptions or DeleteOptions as an object, where known.
    """

    operation: str
    definition: ResourceDefinition
    namespace: str
    name: str
    subresource: str
    obj: Object | None
    old: Object | None
    user: User | None
    catalog: Catalog
    dry_run: bool = False
    options: Object | None = None
    request_definition: ResourceDefinition | None = None
    reinvocation: Reinvocation | None = None
    """Made by the plugin that needs it."""


Admission = Callable[[Attributes], Awaitable[None] | None]
"""Looks at a write: may raise Forbidden and the like. One that must wait returns an awaitable, else None."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """An admission plugin. `admit` may change the object before it is validated; `validate` sees what would be stored.

    `resources` are those it concerns; none: all of them. Both phases run in the order of the list of plugins.
    """

    name: str
    admit: Admission | None = None
    validate: Admission | None = None
    resources: tuple[Resource, ...] = ()

    def concerns(self, resource: Resource) -> bool:
        """Tell whether writes of a resource go through the plugin."""
        return not self.resources or resource in self.resources
