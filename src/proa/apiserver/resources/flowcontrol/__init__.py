"""Kinds of the group flowcontrol.apiserver.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.flowcontrol import (
    flowschema,
    prioritylevelconfiguration,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    flowschema.DEFINITION,
    prioritylevelconfiguration.DEFINITION,
)
