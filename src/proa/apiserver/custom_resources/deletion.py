"""Begin the deletion of a definition: its objects go first, which a controller sees to.

Pure. Follows Delete in apiextensions-apiserver/pkg/registry/customresourcedefinition/etcd.go.
"""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.registry.deletion import Decision, DeleteOptions, check_preconditions, decide
from proa.client.protocol import Object
from proa.objects.meta import format_time
from proa.objects.structural.names import Condition, with_conditions

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_PENDING = Condition(
    "Terminating",
    "True",
    "InstanceDeletionPending",
    "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
)


def decide_definition(
    old: Object, definition: ResourceDefinition, options: DeleteOptions, now: float
) -> Decision:
    """Return what becomes of a definition, which is a private copy; raise Conflict where a precondition fails."""
    metadata = old["metadata"]
    if metadata.get("deletionTimestamp"):
        return decide(old, definition, options, now)
    check_preconditions(metadata, definition, options)
    metadata["deletionTimestamp"] = format_time(now)
    finalizers = metadata.get("finalizers") or []
    if FINALIZER not in finalizers:
        metadata["finalizers"] = [*finalizers, FINALIZER]
    status = old.setdefault("status", {})
    status["conditions"] = with_conditions(status.get("conditions"), [_PENDING], now)
    return Decision("mark", old)
