"""Kinds of the group coordination.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.coordination import (
    lease,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (lease.DEFINITION,)
