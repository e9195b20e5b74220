"""A ValidatingAdmissionPolicyBinding puts a policy to work: where, with which parameters, and what a refusal does.

Follows pkg/registry/admissionregistration/validatingadmissionpolicybinding and printValidatingAdmissionPolicyBinding.
"""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.admissionregistration.policy_binding_rules import validate_validating_binding
from proa.apiserver.resources.admissionregistration.policy_defaults import default_binding
from proa.apiserver.resources.admissionregistration.policy_printing import BINDING_COLUMNS, binding_cells
from proa.objects.resource import VALIDATING_ADMISSION_POLICY_BINDINGS

DEFINITION = ResourceDefinition(
    resource=VALIDATING_ADMISSION_POLICY_BINDINGS,
    singular="validatingadmissionpolicybinding",
    schema="io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    categories=("api-extensions",),
    default=default_binding,
    validate=validate_validating_binding,
    columns=BINDING_COLUMNS,
    cells=binding_cells,
    tracks_generation=True,
    unconditional_update=False,
)
