"""Kinds of the group apps: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.apps import (
    deployment,
    replicaset,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    deployment.DEFINITION,
    replicaset.DEFINITION,
)
