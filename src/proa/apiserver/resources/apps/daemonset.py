"""A DaemonSet keeps a pod on every node that its template fits; its selector never changes.

Follows pkg/apis/apps/v1/{defaults,conversion}.go, pkg/registry/apps/daemonset/strategy.go and printDaemonSet.
How often the template has changed is in an annotation, as it was a field of the spec once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.apps.daemonset_rules import (
    TEMPLATE_GENERATION,
    template_generation,
    validate,
    validate_status_update,
    validate_update,
)
from proa.apiserver.resources.core.pod_defaults import default_template
from proa.apiserver.resources.core.pod_warnings import template_warnings
from proa.apiserver.resources.printing import (
    AGE,
    CONTAINERS,
    IMAGES,
    NAME,
    age,
    container_cells,
    doc,
    labels_cell,
    selector_cell,
)
from proa.client.protocol import Object
from proa.objects.resource import DAEMON_SETS

SHOWN = (
    "desiredNumberScheduled",
    "currentNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
)


def default(daemon_set: Object) -> None:
    """Fill in strategy, history and the template; raise BadRequest where the annotation is no number."""
    spec = daemon_set.setdefault("spec", {})
    strategy = spec.setdefault("updateStrategy", {})
    strategy["type"] = strategy.get("type") or "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    default_template(spec.setdefault("template", {}))
    _set_template_generation(daemon_set, template_generation(daemon_set))


def _set_template_generation(daemon_set: Object, number: int) -> None:
    metadata = daemon_set.setdefault("metadata", {})
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(number)}


def prepare_create(daemon_set: Object) -> None:
    """Start without pods; upstream always writes these counts."""
    daemon_set["status"] = {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    }
    _set_template_generation(daemon_set, max(1, template_generation(daemon_set)))


def prepare_update(new: Object, old: Object) -> None:
    """Count a change of the template."""
    is_changed = new["spec"].get("template") != old["spec"].get("template")
    _set_template_generation(new, template_generation(old) + (1 if is_changed else 0))


def prepare_status_update(new: Object, old: Object) -> None:
    """Keep the count of changes."""
    _set_template_generation(new, template_generation(old))


def warnings(new: Object, old: Object | None) -> list[str]:
    """Warn of what is deprecated in the template."""
    template = (old or {}).get("spec", {}).get("template")
    return template_warnings(new["spec"].get("template") or {}, "spec.template", template)


def cells(daemon_set: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec, status = daemon_set["spec"], daemon_set.get("status") or {}
    template = spec.get("template") or {}
    return (
        daemon_set["metadata"]["name"],
        *(status.get(key, 0) for key in SHOWN),
        labels_cell((template.get("spec") or {}).get("nodeSelector")),
        age(daemon_set, now),
        *container_cells(template),
        selector_cell(spec.get("selector")),
    )


DEFINITION = ResourceDefinition(
    resource=DAEMON_SETS,
    singular="daemonset",
    schema="io.k8s.api.apps.v1.DaemonSet",
    short_names=("ds",),
    categories=("all",),
    subresources=(Subresource("status", "DaemonSet", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status_update=prepare_status_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=warnings,
    columns=(
        NAME,
        Column("Desired", "integer", description=doc("apps.v1.DaemonSetStatus.desiredNumberScheduled")),
        Column("Current", "integer", description=doc("apps.v1.DaemonSetStatus.currentNumberScheduled")),
        Column("Ready", "integer", description=doc("apps.v1.DaemonSetStatus.numberReady")),
        Column("Up-to-date", "integer", description=doc("apps.v1.DaemonSetStatus.updatedNumberScheduled")),
        Column("Available", "integer", description=doc("apps.v1.DaemonSetStatus.numberAvailable")),
        Column("Node Selector", description=doc("core.v1.PodSpec.nodeSelector")),
        AGE,
        CONTAINERS,
        IMAGES,
        Column("Selector", description=doc("apps.v1.DaemonSetSpec.selector"), priority=1),
    ),
    cells=cells,
    tracks_generation=True,
)
