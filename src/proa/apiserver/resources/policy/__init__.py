"""Kinds of the group policy: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.policy import (
    poddisruptionbudget,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (poddisruptionbudget.DEFINITION,)
