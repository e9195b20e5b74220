"""Kinds of the group rbac.authorization.k8s.io: one definition a file, and this list."""

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.rbac import clusterrole, clusterrolebinding, role, rolebinding

DEFINITIONS: tuple[ResourceDefinition, ...] = (
    clusterrole.DEFINITION,
    clusterrolebinding.DEFINITION,
    role.DEFINITION,
    rolebinding.DEFINITION,
)
