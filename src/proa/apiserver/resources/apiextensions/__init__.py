"""Kinds of the group apiextensions.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.apiextensions import customresourcedefinition

DEFINITIONS: tuple[ResourceDefinition, ...] = (customresourcedefinition.DEFINITION,)
