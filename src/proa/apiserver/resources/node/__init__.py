"""Kinds of the group node.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.node import (
    runtimeclass,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (runtimeclass.DEFINITION,)
