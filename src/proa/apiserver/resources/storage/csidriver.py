"""A CSIDriver says what a volume driver needs of the cluster; how its volumes are attached and live never changes.

Follows pkg/apis/storage/v1/defaults.go, pkg/apis/storage/validation, pkg/registry/storage/csidriver and printCSIDriver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.printing import AGE, NAME, NONE, UNSET, age, doc
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import Resource
from proa.objects.validation import duplicate, invalid, not_supported, validate_immutable

CSI_DRIVERS = Resource("storage.k8s.io", "v1", "csidrivers", "CSIDriver", namespaced=False)
POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
MODES = ("Persistent", "Ephemeral")
DEFAULTS = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
}
MUTABLE = ("tokenRequests", "requiresRepublish", "seLinuxMount")
"""A change of these raises the generation."""
SHORTEST_TOKEN, LONGEST_TOKEN = 600, 1 << 32
SHORTEST_PERIOD = 10


def default(driver: Object) -> None:
    """Volumes are attached, outlive their pods, and nothing more is asked."""
    spec = driver.setdefault("spec", {})
    for key, value in DEFAULTS.items():
        if spec.get(key) is None:
            spec[key] = value
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def prepare_update(new: Object, old: Object) -> None:
    """Count changes of what may change."""
    mine, theirs = new["spec"], old["spec"]
    if any(mine.get(key) != theirs.get(key) for key in MUTABLE):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def validate(driver: Object) -> list[Cause]:
    """Check the policy, tokens, modes and period."""
    spec = driver["spec"]
    causes: list[Cause] = []
    if spec["fsGroupPolicy"] not in POLICIES:
        causes.append(not_supported("spec.fsGroupPolicy", spec["fsGroupPolicy"], POLICIES))
    causes += _validate_tokens(spec.get("tokenRequests") or ())
    causes += [
        not_supported("spec.volumeLifecycleModes", mode, MODES)
        for mode in spec["volumeLifecycleModes"]
        if mode not in MODES
    ]
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < SHORTEST_PERIOD:
        field = "spec.nodeAllocatableUpdatePeriodSeconds"
        causes.append(invalid(field, period, "must be greater than or equal to 10 seconds"))
    return causes


def _validate_tokens(requests: Sequence[Object]) -> list[Cause]:
    causes: list[Cause] = []
    audiences: set[str] = set()
    for index, request in enumerate(requests):
        path = f"spec.tokenRequests[{index}]"
        audience, seconds = request.get("audience", ""), request.get("expirationSeconds")
        if audience in audiences:
            causes.append(duplicate(f"{path}.audience", audience))
            continue
        audiences.add(audience)
        if seconds is not None and seconds < SHORTEST_TOKEN:
            why = "may not specify a duration less than 10 minutes"
            causes.append(invalid(f"{path}.expirationSeconds", seconds, why))
        if seconds is not None and seconds > LONGEST_TOKEN:
            why = "may not specify a duration larger than 2^32 seconds"
            causes.append(invalid(f"{path}.expirationSeconds", seconds, why))
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that volumes are attached and live as before."""
    mine, theirs, modes = new["spec"], old["spec"], "volumeLifecycleModes"
    return [
        *validate_immutable(mine["attachRequired"], theirs["attachRequired"], "spec.attachedRequired"),
        *validate_immutable(mine[modes], theirs[modes], f"spec.{modes}"),
    ]


def cells(driver: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec = driver["spec"]
    requests = spec.get("tokenRequests")
    return (
        driver["metadata"]["name"],
        spec.get("attachRequired", True),
        spec.get("podInfoOnMount", False),
        spec.get("storageCapacity", False),
        UNSET if requests is None else ",".join(request.get("audience", "") for request in requests),
        spec.get("requiresRepublish", False),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        age(driver, now),
    )


DEFINITION = ResourceDefinition(
    resource=CSI_DRIVERS,
    singular="csidriver",
    schema="io.k8s.api.storage.v1.CSIDriver",
    default=default,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("AttachRequired", "boolean", description=doc("storage.v1.CSIDriverSpec.attachRequired")),
        Column("PodInfoOnMount", "boolean", description=doc("storage.v1.CSIDriverSpec.podInfoOnMount")),
        Column("StorageCapacity", "boolean", description=doc("storage.v1.CSIDriverSpec.storageCapacity")),
        Column("TokenRequests", description=doc("storage.v1.CSIDriverSpec.tokenRequests")),
        Column("RequiresRepublish", "boolean", description=doc("storage.v1.CSIDriverSpec.requiresRepublish")),
        Column("Modes", description=doc("storage.v1.CSIDriverSpec.volumeLifecycleModes")),
        AGE,
    ),
    cells=cells,
    unconditional_update=False,
    returns_deleted=True,
)
