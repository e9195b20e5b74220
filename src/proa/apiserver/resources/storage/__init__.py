"""Kinds of the group storage.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.storage import (
    csidriver,
    csinode,
    csistoragecapacity,
    storageclass,
    volumeattachment,
    volumeattributesclass,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    csidriver.DEFINITION,
    csinode.DEFINITION,
    csistoragecapacity.DEFINITION,
    storageclass.DEFINITION,
    volumeattachment.DEFINITION,
    volumeattributesclass.DEFINITION,
)
