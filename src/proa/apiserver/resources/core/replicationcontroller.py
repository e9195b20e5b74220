"""A ReplicationController keeps a number of equal pods, as ReplicaSets do since; an old kind, and fully served.

Follows pkg/apis/core/v1/defaults.go, pkg/apis/core/validation ValidateReplicationController,
pkg/registry/core/replicationcontroller/strategy.go and printReplicationController.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import ResourceDefinition, Subresource
from proa.apiserver.resources.core.pod_defaults import default_template
from proa.apiserver.resources.core.pod_rules import validate_pod_template
from proa.apiserver.resources.core.pod_warnings import name_warnings, template_warnings
from proa.apiserver.resources.printing import doc, labels_cell
from proa.apiserver.resources.replicas import (
    SCALE_PATHS,
    columns,
    observed_replicas,
    prepare_create,
    row,
    validate_status_update,
)
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.meta import labels
from proa.objects.resource import REPLICATION_CONTROLLERS
from proa.objects.validation import forbidden, invalid, not_supported, required, validate_non_negative


def default(controller: Object) -> None:
    """Fill in replicas and the template; selector and labels are the template's where there are none."""
    spec = controller.setdefault("spec", {})
    spec["replicas"] = 1 if spec.get("replicas") is None else spec["replicas"]
    template = spec.get("template")
    if template is None:
        return
    default_template(template)
    if labels(template):
        if not spec.get("selector"):
            spec["selector"] = dict(labels(template))
        if not labels(controller):
            controller.setdefault("metadata", {})["labels"] = dict(labels(template))


def validate(controller: Object) -> list[Cause]:
    """Check numbers, selector and template."""
    spec = controller["spec"]
    selector, template = spec.get("selector") or {}, spec.get("template")
    causes = validate_non_negative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    if not selector:
        causes.append(required("spec.selector"))
    causes += validate_non_negative(spec.get("replicas", 0), "spec.replicas")
    if template is None:
        return [*causes, required("spec.template")]
    if not selector.items() <= labels(template).items():
        detail = "`selector` does not match template `labels`"
        causes.append(invalid("spec.template.metadata.labels", labels(template) or None, detail))
    causes += validate_pod_template(template, "spec.template")
    return causes + _validate_always_running(template)


def _validate_always_running(template: Object) -> list[Cause]:
    pod, path = template.get("spec") or {}, "spec.template.spec"
    causes: list[Cause] = []
    if pod.get("restartPolicy") != "Always":
        causes.append(not_supported(f"{path}.restartPolicy", pod.get("restartPolicy", ""), ("Always",)))
    if "activeDeadlineSeconds" in pod:
        detail = "activeDeadlineSeconds in ReplicationController is not Supported"
        causes.append(forbidden(f"{path}.activeDeadlineSeconds", detail))
    return causes


def warnings(new: Object, old: Object | None) -> list[str]:
    """Warn of a name that no pod can have, and of what is deprecated in the template."""
    said = name_warnings(new) if old is None else []
    template = new["spec"].get("template") or {}
    return said + template_warnings(template, "spec.template", (old or {}).get("spec", {}).get("template"))


def cells(controller: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    return row(controller, now, labels_cell(controller["spec"].get("selector")))


DEFINITION = ResourceDefinition(
    resource=REPLICATION_CONTROLLERS,
    singular="replicationcontroller",
    schema="io.k8s.api.core.v1.ReplicationController",
    short_names=("rc",),
    categories=("all",),
    subresources=(
        Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling/v1"),
        Subresource("status", "ReplicationController", ("get", "patch", "update")),
    ),
    default=default,
    prepare_create=prepare_create,
    validate=validate,
    validate_status_update=validate_status_update,
    warnings=warnings,
    columns=columns(
        desired=doc("core.v1.ReplicationControllerSpec.replicas"),
        current=doc("core.v1.ReplicationControllerStatus.replicas"),
        ready=doc("core.v1.ReplicationControllerStatus.readyReplicas"),
        selector=doc("core.v1.ReplicationControllerSpec.selector"),
    ),
    cells=cells,
    field_selectors={"status.replicas": observed_replicas},
    tracks_generation=True,
    default_propagation="Orphan",
    scale_paths=SCALE_PATHS,
)
