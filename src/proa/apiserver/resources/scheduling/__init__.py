"""Kinds of the group scheduling.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.scheduling import (
    priorityclass,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (priorityclass.DEFINITION,)
