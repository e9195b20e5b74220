"""Kinds of the group autoscaling: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.autoscaling import (
    horizontalpodautoscaler,
    horizontalpodautoscaler_v1,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    horizontalpodautoscaler.DEFINITION,
    horizontalpodautoscaler_v1.DEFINITION,
)
