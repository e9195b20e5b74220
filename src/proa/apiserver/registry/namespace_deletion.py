"""A namespace that is deleted turns Terminating, and goes only when its spec.finalizers are gone too.

Follows Delete in pkg/registry/core/namespace/storage/storage.go. The namespace controller empties it meanwhile.
"""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.deletion import Decision, DeleteOptions, decide
from proa.client.protocol import Object
from proa.objects.meta import format_time


def decide_namespace(
    old: Object, definition: ResourceDefinition, options: DeleteOptions, now: float
) -> Decision:
    """Return what becomes of a namespace at a DELETE."""
    metadata = old["metadata"]
    finalizers = (old.get("spec") or {}).get("finalizers")
    going = metadata.get("deletionTimestamp")
    if not finalizers:
        return decide(old, definition, options, now)
    if going:
        return Decision("nothing", old)
    had = dict(metadata)
    decided = decide(old, definition, options, now)
    metadata = decided.obj["metadata"]
    metadata["deletionTimestamp"] = format_time(now)
    if "deletionGracePeriodSeconds" not in had:
        metadata.pop("deletionGracePeriodSeconds", None)
    decided.obj["status"] = {**(old.get("status") or {}), "phase": "Terminating"}
    return Decision("mark", decided.obj)
