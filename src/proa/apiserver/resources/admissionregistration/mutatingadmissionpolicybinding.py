"""A MutatingAdmissionPolicyBinding puts a policy to work: where, with which parameters.

Follows pkg/registry/admissionregistration/mutatingadmissionpolicybinding and printMutatingAdmissionPolicyBinding.
"""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.admissionregistration.policy_binding_rules import validate_mutating_binding
from proa.apiserver.resources.admissionregistration.policy_defaults import default_binding
from proa.apiserver.resources.admissionregistration.policy_printing import BINDING_COLUMNS, binding_cells
from proa.objects.resource import MUTATING_ADMISSION_POLICY_BINDINGS

DEFINITION = ResourceDefinition(
    resource=MUTATING_ADMISSION_POLICY_BINDINGS,
    singular="mutatingadmissionpolicybinding",
    schema="io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
    categories=("api-extensions",),
    default=default_binding,
    validate=validate_mutating_binding,
    columns=BINDING_COLUMNS,
    cells=binding_cells,
    tracks_generation=True,
    unconditional_update=False,
)
