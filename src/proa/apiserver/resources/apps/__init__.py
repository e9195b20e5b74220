"""Kinds of the group apps: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.apps import (
    controllerrevision,
    daemonset,
    deployment,
    replicaset,
    statefulset,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    controllerrevision.DEFINITION,
    daemonset.DEFINITION,
    deployment.DEFINITION,
    replicaset.DEFINITION,
    statefulset.DEFINITION,
)
