"""Kinds of the group certificates.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.certificates import certificatesigningrequest

DEFINITIONS: tuple[ResourceDefinition, ...] = (certificatesigningrequest.DEFINITION,)
