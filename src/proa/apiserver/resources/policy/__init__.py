"""Kinds of the group policy: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition

DEFINITIONS: tuple[ResourceDefinition, ...] = ()
