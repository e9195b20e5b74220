"""The HorizontalPodAutoscaler of autoscaling/v1: the same objects, stored as v2, in the words of before.

Follows pkg/apis/autoscaling/v1/defaults.go.
"""

from __future__ import annotations

from dataclasses import replace

from proa.apiserver.registry.conversion import make_conversion
from proa.apiserver.resources.autoscaling import horizontalpodautoscaler
from proa.apiserver.resources.autoscaling.hpa_conversion import to_v1, to_v2
from proa.client.protocol import Object
from proa.objects.resource import HORIZONTAL_POD_AUTOSCALERS, Resource

RESOURCE = Resource("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler")


def default(autoscaler: Object) -> None:
    """Fill in at least one pod; the metric's default comes with the conversion, which knows of all metrics."""
    autoscaler.setdefault("spec", {}).setdefault("minReplicas", 1)


DEFINITION = replace(
    horizontalpodautoscaler.DEFINITION,
    resource=RESOURCE,
    schema="io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    default=default,
    conversion=make_conversion(HORIZONTAL_POD_AUTOSCALERS, RESOURCE, to_v2, to_v1),
)
