"""Kinds of the group batch: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.batch import (
    job,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (job.DEFINITION,)
