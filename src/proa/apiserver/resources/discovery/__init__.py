"""Kinds of the group discovery.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.discovery import (
    endpointslice,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (endpointslice.DEFINITION,)
