"""A PodTemplate keeps a pod template under a name; nothing is made of it.

Follows pkg/apis/core/validation ValidatePodTemplate, pkg/registry/core/podtemplate/strategy.go and printPodTemplate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition
from proa.apiserver.resources.core.pod_defaults import default_template
from proa.apiserver.resources.core.pod_rules import validate_pod_template
from proa.apiserver.resources.core.pod_warnings import template_warnings
from proa.apiserver.resources.printing import CONTAINERS, IMAGES, NAME, container_cells, labels_cell
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.meta import labels
from proa.objects.resource import POD_TEMPLATES


def default(pod_template: Object) -> None:
    """Fill in the template."""
    default_template(pod_template.setdefault("template", {}))


def validate(pod_template: Object) -> list[Cause]:
    """Check the template."""
    return validate_pod_template(pod_template["template"], "template")


def warnings(new: Object, old: Object | None) -> list[str]:
    """Warn of what is deprecated in the template."""
    return template_warnings(new["template"], "template", (old or {}).get("template"))


def cells(pod_template: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    template = pod_template.get("template") or {}
    return pod_template["metadata"]["name"], *container_cells(template), labels_cell(labels(template))


DEFINITION = ResourceDefinition(
    resource=POD_TEMPLATES,
    singular="podtemplate",
    schema="io.k8s.api.core.v1.PodTemplate",
    default=default,
    validate=validate,
    warnings=warnings,
    columns=(
        NAME,
        replace(CONTAINERS, priority=0),
        replace(IMAGES, priority=0),
        Column("Pod Labels", description="The labels for the pod template."),
    ),
    cells=cells,
    tracks_generation=True,
)
