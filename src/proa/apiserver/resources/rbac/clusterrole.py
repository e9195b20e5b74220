"""A ClusterRole is a list of what may be done anywhere, or in the namespace where it is bound.

Its rules may be gathered from others by the clusterrole-aggregation controller (pkg/registry/rbac/clusterrole).
"""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.rbac.policy_rules import ROLE_COLUMNS, keep_rules, role_cells, validate_rules
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import CLUSTER_ROLES
from proa.objects.validation import required
from proa.objects.validation_selectors import validate_label_selector


def validate(role: Object) -> list[Cause]:
    """Check the rules, and the selectors of an aggregation."""
    causes = validate_rules(role, is_namespaced=False)
    aggregation = role.get("aggregationRule")
    if aggregation is None:
        return causes
    field = "aggregationRule.clusterRoleSelectors"
    selectors = aggregation.get("clusterRoleSelectors") or ()
    if not selectors:
        why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        causes.append(required(field, why))
    for index, selector in enumerate(selectors):
        causes += validate_label_selector(selector, f"{field}[{index}]")
    return causes


DEFINITION = ResourceDefinition(
    resource=CLUSTER_ROLES,
    singular="clusterrole",
    schema="io.k8s.api.rbac.v1.ClusterRole",
    prepare_create=keep_rules,
    prepare_update=keep_rules,
    validate=validate,
    columns=ROLE_COLUMNS,
    cells=role_cells,
    name_rule="path-segment",
    created_by_update=True,
)
