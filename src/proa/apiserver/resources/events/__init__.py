"""Kinds of the group events.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.events import (
    event,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (event.DEFINITION,)
