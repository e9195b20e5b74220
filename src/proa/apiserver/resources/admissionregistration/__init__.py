"""Kinds of the group admissionregistration.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.admissionregistration import (
    mutatingadmissionpolicy,
    mutatingadmissionpolicybinding,
    mutatingwebhookconfiguration,
    validatingadmissionpolicy,
    validatingadmissionpolicybinding,
    validatingwebhookconfiguration,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    mutatingadmissionpolicy.DEFINITION,
    mutatingadmissionpolicybinding.DEFINITION,
    mutatingwebhookconfiguration.DEFINITION,
    validatingadmissionpolicy.DEFINITION,
    validatingadmissionpolicybinding.DEFINITION,
    validatingwebhookconfiguration.DEFINITION,
)
