"""A Role is a list of what may be done in one namespace (pkg/registry/rbac/role)."""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.rbac.policy_rules import ROLE_COLUMNS, keep_rules, role_cells, validate_rules
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import ROLES


def validate(role: Object) -> list[Cause]:
    """Check the rules, which are for resources alone."""
    return validate_rules(role, is_namespaced=True)


DEFINITION = ResourceDefinition(
    resource=ROLES,
    singular="role",
    schema="io.k8s.api.rbac.v1.Role",
    prepare_create=keep_rules,
    prepare_update=keep_rules,
    validate=validate,
    columns=ROLE_COLUMNS,
    cells=role_cells,
    name_rule="path-segment",
    created_by_update=True,
)
