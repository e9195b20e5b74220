"""Whoever makes an object that nothing here acts on yet is told so: no upstream plugin, and gone when the last acts.

docs/compatibility.md says the same of each kind.
"""

from __future__ import annotations

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.notes import warn
from proa.objects.resource import (
    NETWORK_POLICIES,
)

REASONS = {
    NETWORK_POLICIES: "stored, but Proa does not enforce network policies yet: all traffic is allowed",
}
RESOURCES = (*REASONS,)


def validate(attributes: Attributes) -> None:
    """Warn of a new object of one of these kinds."""
    resource = attributes.definition.resource
    if attributes.operation == "CREATE" and not attributes.subresource:
        warn(f"{resource.kind}: {REASONS[resource]}")
