"""Kinds of the group resource.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.resource import (
    deviceclass,
    resourceclaim,
    resourceclaimtemplate,
    resourceslice,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    deviceclass.DEFINITION,
    resourceclaim.DEFINITION,
    resourceclaimtemplate.DEFINITION,
    resourceslice.DEFINITION,
)
