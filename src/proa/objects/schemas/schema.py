"""A structural schema: what fields a kind has, and how their lists and maps merge.

One shape for built-in kinds (loaded from the generated table beside this file) and custom resources. Follows
apiextensions-apiserver/pkg/apiserver/schema/structural.go; merge facts are x-kubernetes-patch-merge-key,
-patch-strategy, -list-type and -list-map-keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SchemaType = Literal[
    "object", "array", "string", "integer", "number", "boolean", "int-or-string", "quantity", "any"
]


@dataclass(slots=True)
class Schema:
    """One node. `items` is set for arrays, `values` for maps (additionalProperties), `properties` for structs.

    `preserve_unknown` keeps fields that the schema does not name; "any" accepts every JSON value.
    References are resolved lazily and may be shared or recursive: never copy or mutate a node.
    `name` is the definition's, e.g. io.k8s.api.core.v1.Container, or "" for a node that is not shared.
    `format` is int32, int64, double, byte, date-time or "".
    """

    type: SchemaType
    properties: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    items: Schema | None = None
    values: Schema | None = None
    format: str = ""
    enum: tuple[object, ...] = ()
    merge_key: str = ""
    patch_strategy: tuple[str, ...] = ()
    list_type: Literal["", "atomic", "set", "map"] = ""
    list_map_keys: tuple[str, ...] = ()
    map_type: Literal["", "atomic", "granular"] = ""
    preserve_unknown: bool = False
    name: str = ""
    omitted: frozenset[str] = frozenset()
    """Scalar fields whose zero ("", 0, false) is as good as absent, as Go's omitempty has it."""
    default: Any = None
    """A custom resource's scalar default, by which items of lists are known that leave a key out."""
    object_form: Schema | None = field(default=None, repr=False, compare=False)
    """Of an "any" whose objects have a shape, that shape; its other values are booleans or lists of such objects."""
    decode: Any = field(default=None, repr=False, compare=False)
    """What brings a custom resource to this schema in place of check.py: (object) -> Faults or None."""
    compiled: Any = field(default=None, repr=False, compare=False)
    """What check.py made of this node, once."""
    typed: Any = field(default=None, repr=False, compare=False)
    """What managed_fields/typed.py made of this node, once."""
