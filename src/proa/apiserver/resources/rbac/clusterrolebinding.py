"""A ClusterRoleBinding gives a ClusterRole to subjects, everywhere (pkg/registry/rbac/clusterrolebinding)."""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.printing import doc
from proa.apiserver.resources.rbac.policy_rules import (
    binding_cells,
    binding_columns,
    default_binding,
    validate_binding,
    validate_binding_update,
)
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import CLUSTER_ROLE_BINDINGS


def validate(binding: Object) -> list[Cause]:
    """Check the role's reference and each subject."""
    return validate_binding(binding, ("ClusterRole",), is_namespaced=False)


DEFINITION = ResourceDefinition(
    resource=CLUSTER_ROLE_BINDINGS,
    singular="clusterrolebinding",
    schema="io.k8s.api.rbac.v1.ClusterRoleBinding",
    default=default_binding,
    validate=validate,
    validate_update=validate_binding_update,
    columns=binding_columns("clusterRoleBinding", doc("rbac.v1.ClusterRoleBinding.roleRef")),
    cells=binding_cells,
    name_rule="path-segment",
    created_by_update=True,
)
