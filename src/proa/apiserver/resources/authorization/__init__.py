"""Kinds of the group authorization.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.authorization import (
    localsubjectaccessreview,
    selfsubjectaccessreview,
    selfsubjectrulesreview,
    subjectaccessreview,
)

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    localsubjectaccessreview.DEFINITION,
    selfsubjectaccessreview.DEFINITION,
    selfsubjectrulesreview.DEFINITION,
    subjectaccessreview.DEFINITION,
)
