"""A ValidatingAdmissionPolicy says in CEL what objects are refused; bindings put it to work.

Follows pkg/registry/admissionregistration/validatingadmissionpolicy and printValidatingAdmissionPolicy.
"""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition, Subresource
from proa.apiserver.resources.admissionregistration.policy_defaults import default_policy
from proa.apiserver.resources.admissionregistration.policy_printing import policy_cells, policy_columns
from proa.apiserver.resources.admissionregistration.policy_rules import (
    validate_status_update,
    validate_validating,
)
from proa.objects.resource import VALIDATING_ADMISSION_POLICIES

DEFINITION = ResourceDefinition(
    resource=VALIDATING_ADMISSION_POLICIES,
    singular="validatingadmissionpolicy",
    schema="io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
    categories=("api-extensions",),
    subresources=(Subresource("status", "ValidatingAdmissionPolicy", ("get", "patch", "update")),),
    validate_status_update=validate_status_update,
    default=default_policy,
    heavy_bytes=2048,
    validate=validate_validating,
    columns=policy_columns(
        "Validations", "Validations indicates the number of validation rules defined in this configuration"
    ),
    cells=policy_cells("validations"),
    tracks_generation=True,
    unconditional_update=False,
)
