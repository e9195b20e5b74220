"""Kinds of the group admissionregistration.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.admissionregistration import (
    mutatingwebhookconfiguration,
    validatingwebhookconfiguration,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    mutatingwebhookconfiguration.DEFINITION,
    validatingwebhookconfiguration.DEFINITION,
)
