"""Kinds of the group batch: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.batch import (
    cronjob,
    job,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    cronjob.DEFINITION,
    job.DEFINITION,
)
