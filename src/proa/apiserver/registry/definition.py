"""What the API server must know of a kind, in one record. `resources/<group>/<kind>.py` each hold one.

The generic registry (registry.py) does everything else: metadata, names, generation, finalizers, storage,
selectors, subresources, tables. Follows apiserver/pkg/registry/generic and registry/rest/create.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from proa.apiserver.pace import HEAVY_BYTES
from proa.apiserver.registry.computed import Compute
from proa.apiserver.registry.conversion import Conversion
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import Resource
from proa.objects.schemas.load import schema_named
from proa.objects.schemas.schema import Schema

if TYPE_CHECKING:
    from proa.apiserver.claims import Holding
    from proa.apiserver.registry.attributes import Attributes

Verb = Literal["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
ALL_VERBS: tuple[Verb, ...] = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the kind's Table; priority 0 is always shown, above 0 only with `-o wide`."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


class Allocators(Protocol):
    """Addresses and ports that the cluster hands out; each raises Invalid when taken or out of range.

    `families` are those of the cluster's own ranges, the default one first (IPv4, IPv6).
    `path` is the field that asks for a port.
    """

    @property
    def families(self) -> Sequence[str]: ...

    async def allocate_cluster_ip(self, wanted: str = "", family: str = "IPv4") -> str: ...

    def release_cluster_ip(self, address: str) -> None: ...

    async def allocate_node_port(self, wanted: int = 0, path: str = "") -> int: ...

    def release_node_port(self, port: int) -> None: ...


def no_causes(*_: Any) -> list[Cause]:
    """Accept anything."""
    return []


def nothing(*_: Any) -> None:
    """Do nothing."""


def no_warnings(*_: Any) -> list[str]:
    """Say nothing."""
    return []


@dataclass(frozen=True, slots=True)
class Subresource:
    """`status` and `scale` are served generically; the others have a handler of that name.

    `kind` and `api_version` are those of the body, as discovery shows them.
    """

    name: str
    kind: str
    verbs: tuple[str, ...]
    api_version: str = ""
    prepare: Callable[[Object, Object], None] | None = None
    """Where given, the body is the whole object and it is served generically: `prepare(new, old)` keeps of `old` all
    but what the subresource writes."""
    validate: Callable[[Object, Object], list[Cause]] = no_causes
    """Check what `prepare` has left, for (new, old)."""


class Ago(NamedTuple):
    """A cell that says how long ago a time was: `words`, with that in place of {}."""

    time: str | None
    words: str = "{}"


@dataclass(frozen=True, slots=True)
class ResourceDefinition:
    """A kind. Objects given to these functions are private copies that `default` and `prepare_*` may mutate.

    Order on create, as upstream's: decode and check against the schema, `default`, mutating admission,
    `prepare_create`, `allocate`, `validate`, `validate_create`; on update: `default`, admission,
    `prepare_update(new, old)`, `allocate`, `validate`, `validate_update(new, old)`. The generic registry drops what
    clients may not write: `status` on create where there is a status subresource (unless `prepare_create` sets it),
    and on a plain update.
    Generation rises when anything but metadata and status changes, where `tracks_generation`.
    """

    resource: Resource
    singular: str
    schema: str | Schema | Callable[[], Schema]
    """The kind's name in the schema table, e.g. io.k8s.api.apps.v1.Deployment; custom ones make theirs when asked."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[Verb, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    default: Callable[[Object], None] = nothing
    prepare_create: Callable[[Object], None] = nothing
    prepare_update: Callable[[Object, Object], None] = nothing
    prepare_status_update: Callable[[Object, Object], None] = nothing
    heavy_bytes: int = HEAVY_BYTES
    """A body of more is checked aside: less for kinds that hold expressions or patterns, which are compiled."""
    validate: Callable[[Object], list[Cause]] = no_causes
    validate_create: Callable[[Object], list[Cause]] = no_causes
    """Beside `validate`, for new objects only."""
    validate_update: Callable[[Object, Object], list[Cause]] = no_causes
    validates_change_alone: bool = False
    """Whether on update `validate_update` sees to all of the new object, so that what was wrong before may stay."""
    validate_status_update: Callable[[Object, Object], list[Cause]] = no_causes
    allocate: Callable[[Object, Object | None, Allocators], Awaitable[None]] | None = None
    """Called with (new, old or None, allocators), for a kind whose objects are handed out addresses or ports."""
    holds: Callable[[Object], Holding] | None = None
    """Return what a stored object of such a kind has been handed out."""
    warnings: Callable[[Object, Object | None], list[str]] = no_warnings
    """Return what to warn the client of, for (new, old or None); asked once the object is valid."""
    columns: tuple[Column, ...] = (
        Column("Name", format="name", description="Name must be unique within a namespace."),
        Column("Age", description="CreationTimestamp is a timestamp of when the object was made."),
    )
    cells: Callable[[Object, float], Sequence[Any]] | None = None
    """Return the row's cells for (object, now in epoch seconds); None: name and age."""
    summary: Callable[[Object], Sequence[Any]] | None = None
    """In place of `cells`, for a kind with large objects that are often listed (registry/summaries.py): return the row
    of an object, with `Ago` where it changes with time."""
    field_selectors: Mapping[str, Callable[[Object], str]] = field(default_factory=dict)
    """Beyond metadata.name and metadata.namespace."""
    verbatim_fields: tuple[str, ...] = ()
    """Those whose value, where there is one, stands as a string in the object (handlers/sieve.py)."""
    tracks_generation: bool = False
    grace_seconds: Callable[[Object, int | None], int] | None = None
    """Return the grace period for (object, the one asked for); None: deleted at once. Pods have one."""
    default_propagation: Literal["Background", "Orphan"] = "Background"
    name_rule: Literal["dns-subdomain", "dns-label", "path-segment", "dns1035-label", "ip-address"] = (
        "dns-subdomain"
    )
    unconditional_update: bool = True
    """Whether a PUT without resourceVersion is allowed (AllowUnconditionalUpdate)."""
    created_by_update: bool = False
    """Whether a PUT of what is not there creates it (AllowCreateOnUpdate)."""
    deprecation: str = ""
    """A warning that every answer about this resource carries, e.g. of a version that has a successor."""
    returns_deleted: bool = False
    """Whether DELETE answers with the object rather than a Status (upstream's ReturnDeletedObject)."""
    scale_paths: tuple[str, str, str] | None = None
    """Paths of spec replicas, status replicas and label selector, where there is a scale subresource."""
    openapi: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None
    """A custom kind's OpenAPI v3 schema as its author wrote it, {} for none, for clients, or what reads it; a built-in
    kind's is made of `schema`."""
    list_kind: str = ""
    """The kind of a list of these; "": the kind and "List"."""
    conversion: Conversion | None = None
    """How stored objects become these, where they are stored in another version or may be (conversion.py)."""
    review: Callable[[Attributes], Object | Awaitable[Object]] | None = None
    """For a kind that is asked and not stored (SubjectAccessReview, TokenReview): return the answer to a POST.

    `attributes.obj` was defaulted, admitted and found valid by `validate`, and may be changed and returned. Such a kind
    has `verbs=("create",)`.
    """

    computed: Compute | None = None
    """For a kind whose objects are read off the running server and not stored; such a kind has `get` and `list`."""

    @property
    def openapi_schema(self) -> Mapping[str, Any]:
        """Return a custom kind's OpenAPI v3 schema."""
        return self.openapi() if callable(self.openapi) else self.openapi or {}

    @property
    def is_custom(self) -> bool:
        """Tell whether a CustomResourceDefinition made this."""
        return self.openapi is not None

    @property
    def kind_of_list(self) -> str:
        """Return the kind of a list of the kind's objects."""
        return self.list_kind or f"{self.resource.kind}List"

    @property
    def object_schema(self) -> Schema:
        """Return the schema of the kind's objects."""
        if isinstance(self.schema, str):
            return schema_named(self.schema)
        return self.schema if isinstance(self.schema, Schema) else self.schema()
