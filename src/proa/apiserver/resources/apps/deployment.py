"""A Deployment keeps replicas of a pod running, and rolls out changes; its selector never changes.

Follows pkg/apis/apps/v1/defaults.go, pkg/apis/apps/validation ValidateDeployment and printDeployment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.apps.rolling_rules import (
    count_of,
    validate_at_most_all,
    validate_count_or_percent,
)
from proa.apiserver.resources.apps.template_rules import validate_selector_and_template, warnings
from proa.apiserver.resources.core.pod_defaults import default_template
from proa.apiserver.resources.printing import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    age,
    container_cells,
    doc,
    selector_cell,
)
from proa.apiserver.resources.status_counts import (
    validate_available,
    validate_collisions,
    validate_counts,
)
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import DEPLOYMENTS
from proa.objects.validation import (
    forbidden,
    invalid,
    not_supported,
    required,
    validate_immutable,
    validate_non_negative,
)

STRATEGIES = ("Recreate", "RollingUpdate")
COUNTS = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
          "unavailableReplicas", "collisionCount")  # fmt: skip
PARTS = ("updatedReplicas", "readyReplicas", "availableReplicas")


def default(deployment: Object) -> None:
    """Fill in replicas, strategy, history, deadline, and the template."""
    spec = deployment.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    default_template(spec.setdefault("template", {}))


def prepare_create(deployment: Object) -> None:
    """Start with an empty status."""
    deployment["status"] = {}


def prepare_update(new: Object, old: Object) -> None:
    """Count a change of annotations as a generation too (deploymentStrategy.PrepareForUpdate)."""
    if (new["metadata"].get("annotations") or {}) != (old["metadata"].get("annotations") or {}):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def validate(deployment: Object) -> list[Cause]:
    """Check numbers, selector, template and strategy."""
    spec = deployment["spec"]
    causes = validate_non_negative(spec.get("replicas", 0), "spec.replicas")
    causes += validate_selector_and_template(spec)
    causes += _validate_strategy(spec.get("strategy") or {})
    ready_seconds = spec.get("minReadySeconds", 0)
    deadline = spec.get("progressDeadlineSeconds")
    causes += validate_non_negative(ready_seconds, "spec.minReadySeconds")
    causes += validate_non_negative(spec.get("revisionHistoryLimit", 0), "spec.revisionHistoryLimit")
    if deadline is not None:
        causes += validate_non_negative(deadline, "spec.progressDeadlineSeconds")
        if deadline <= ready_seconds:
            detail = "must be greater than minReadySeconds"
            causes.append(invalid("spec.progressDeadlineSeconds", deadline, detail))
    return causes


def _validate_strategy(strategy: Object) -> list[Cause]:
    kind, rolling, path = strategy.get("type", ""), strategy.get("rollingUpdate"), "spec.strategy"
    if kind == "Recreate":
        detail = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden(f"{path}.rollingUpdate", detail)] if rolling is not None else []
    if kind != "RollingUpdate":
        return [not_supported(path, strategy, STRATEGIES)]
    if rolling is None:
        return [required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
    return _validate_rolling_update(rolling, f"{path}.rollingUpdate")


def _validate_rolling_update(rolling: Object, path: str) -> list[Cause]:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    causes = validate_count_or_percent(unavailable, f"{path}.maxUnavailable")
    causes += validate_count_or_percent(surge, f"{path}.maxSurge")
    if count_of(unavailable) == 0 and count_of(surge) == 0:
        causes.append(invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    return causes + validate_at_most_all(unavailable, f"{path}.maxUnavailable")


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the selector is the same."""
    return validate_immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check that no count is negative, or larger than the one that it is a part of."""
    status = new.get("status") or {}
    causes = validate_counts(status, COUNTS, PARTS) + validate_available(status)
    return causes + validate_collisions(status, old.get("status") or {})


def cells(deployment: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec, status = deployment["spec"], deployment.get("status") or {}
    return (
        deployment["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(deployment, now),
        *container_cells(spec.get("template") or {}),
        selector_cell(spec.get("selector")),
    )


DEFINITION = ResourceDefinition(
    resource=DEPLOYMENTS,
    singular="deployment",
    schema="io.k8s.api.apps.v1.Deployment",
    short_names=("deploy",),
    categories=("all",),
    subresources=(
        Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling/v1"),
        Subresource("status", "Deployment", ("get", "patch", "update")),
    ),
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=warnings,
    columns=(
        NAME,
        Column("Ready", description="Number of the pod with ready state"),
        Column("Up-to-date", description=doc("apps.v1.DeploymentStatus.updatedReplicas")),
        Column("Available", description=doc("apps.v1.DeploymentStatus.availableReplicas")),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", description=doc("apps.v1.DeploymentSpec.selector"), priority=1),
    ),
    cells=cells,
    tracks_generation=True,
    scale_paths=(".spec.replicas", ".status.replicas", ".spec.selector"),
)
