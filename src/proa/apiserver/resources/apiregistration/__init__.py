"""Kinds of the group apiregistration.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.apiregistration import apiservice

DEFINITIONS: tuple[ResourceDefinition, ...] = (apiservice.DEFINITION,)
