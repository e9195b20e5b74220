"""Kinds of the group authentication.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.authentication import selfsubjectreview, tokenreview

DEFINITIONS: tuple[ResourceDefinition, ...] = (selfsubjectreview.DEFINITION, tokenreview.DEFINITION)
