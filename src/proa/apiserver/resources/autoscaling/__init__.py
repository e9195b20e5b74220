"""Kinds of the group autoscaling: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.autoscaling import (
    horizontalpodautoscaler,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (horizontalpodautoscaler.DEFINITION,)
