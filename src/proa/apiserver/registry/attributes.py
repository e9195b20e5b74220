"""What admission plugins see of a write (apiserver/pkg/admission/attributes.go)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from proa.apiserver.registry.definition import ResourceDefinition
from proa.client.protocol import Object, User
from proa.objects.quick_dataclass import dataclass

if TYPE_CHECKING:
    from proa.apiserver.registry.catalog import Catalog


@dataclass(slots=True)
class Attributes:
    """What admission sees of a write. `obj` may be changed; `old` may not. `obj` is None for a delete."""

    operation: str
    definition: ResourceDefinition
    namespace: str
    name: str
    subresource: str
    obj: Object | None
    old: Object | None
    user: User | None
    catalog: Catalog


Admission = Callable[[Attributes], None]
"""Looks at a write before it is validated: may change `obj`, or raise Forbidden."""
