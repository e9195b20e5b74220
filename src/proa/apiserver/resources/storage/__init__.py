"""Kinds of the group storage.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.storage import (
    storageclass,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (storageclass.DEFINITION,)
