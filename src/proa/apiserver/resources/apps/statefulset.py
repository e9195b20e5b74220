"""A StatefulSet keeps pods that have names and claims of their own; only some of its spec ever changes.

Follows pkg/apis/apps/v1/defaults.go, pkg/registry/apps/statefulset/strategy.go and printStatefulSet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.registry.notes import warn
from proa.apiserver.resources.apps.statefulset_rules import (
    validate_create,
    validate_status_update,
    validate_update,
)
from proa.apiserver.resources.core.persistentvolumeclaim import default_claim_spec
from proa.apiserver.resources.core.pod_defaults import default_template
from proa.apiserver.resources.core.pod_warnings import template_warnings
from proa.apiserver.resources.printing import AGE, CONTAINERS, IMAGES, NAME, age, container_cells
from proa.client.protocol import Object
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, STATEFUL_SETS


def default(stateful_set: Object) -> None:
    """Fill in policies, strategy, replicas, history, the template and the claims' templates."""
    spec = stateful_set.setdefault("spec", {})
    spec["podManagementPolicy"] = spec.get("podManagementPolicy") or "OrderedReady"
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        if strategy.get("rollingUpdate") is None:
            strategy["rollingUpdate"] = {}
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        strategy["rollingUpdate"].setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    for key in ("whenDeleted", "whenScaled"):
        retention[key] = retention.get(key) or "Retain"
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    default_template(spec.setdefault("template", {}))
    for claim in spec.get("volumeClaimTemplates") or ():
        claim["kind"], claim["apiVersion"] = (
            PERSISTENT_VOLUME_CLAIMS.kind,
            PERSISTENT_VOLUME_CLAIMS.api_version,
        )
        claim.setdefault("metadata", {})
        default_claim_spec(claim.setdefault("spec", {}))
        status = claim.setdefault("status", {})
        status["phase"] = status.get("phase") or "Pending"


def prepare_create(stateful_set: Object) -> None:
    """Start without pods; upstream always writes these counts."""
    stateful_set["status"] = {"replicas": 0, "availableReplicas": 0}
    _drop_max_unavailable(stateful_set)


def prepare_update(new: Object, old: Object) -> None:
    """Keep what is off by default where it has been there before."""
    if "maxUnavailable" not in _rolling(old):
        _drop_max_unavailable(new)


def _drop_max_unavailable(stateful_set: Object) -> None:
    """Leave out a field whose feature, MaxUnavailableStatefulSet, is off in 1.36; upstream does not say so."""
    if "maxUnavailable" in _rolling(stateful_set):
        strategy = stateful_set["spec"]["updateStrategy"]
        kept = {key: value for key, value in strategy["rollingUpdate"].items() if key != "maxUnavailable"}
        stateful_set["spec"]["updateStrategy"] = {**strategy, "rollingUpdate": kept}
        warn(
            "spec.updateStrategy.rollingUpdate.maxUnavailable: dropped, as in Kubernetes 1.36: "
            "one pod is updated at a time"
        )


def _rolling(stateful_set: Object) -> Object:
    return (stateful_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}


def warnings(new: Object, old: Object | None) -> list[str]:
    """Warn of what is deprecated in the template, and of a history without end."""
    template = (old or {}).get("spec", {}).get("template")
    said = template_warnings(new["spec"].get("template") or {}, "spec.template", template)
    if new["spec"].get("revisionHistoryLimit", 0) < 0:
        said.append(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; "
            "a value >= 0 is recommended"
        )
    return said


def cells(stateful_set: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    spec, status = stateful_set["spec"], stateful_set.get("status") or {}
    return (
        stateful_set["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        age(stateful_set, now),
        *container_cells(spec.get("template") or {}),
    )


DEFINITION = ResourceDefinition(
    resource=STATEFUL_SETS,
    singular="statefulset",
    schema="io.k8s.api.apps.v1.StatefulSet",
    short_names=("sts",),
    categories=("all",),
    subresources=(
        Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling/v1"),
        Subresource("status", "StatefulSet", ("get", "patch", "update")),
    ),
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate_create=validate_create,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=warnings,
    columns=(
        NAME,
        Column("Ready", description="Number of the pod with ready state"),
        AGE,
        CONTAINERS,
        IMAGES,
    ),
    cells=cells,
    tracks_generation=True,
    name_rule="dns-label",
    scale_paths=(".spec.replicas", ".status.replicas", ".spec.selector"),
)
