"""A MutatingAdmissionPolicy says in CEL how objects are changed; bindings put it to work.

Follows pkg/registry/admissionregistration/mutatingadmissionpolicy and printMutatingAdmissionPolicy.
"""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.admissionregistration.policy_defaults import default_policy
from proa.apiserver.resources.admissionregistration.policy_printing import policy_cells, policy_columns
from proa.apiserver.resources.admissionregistration.policy_rules import validate_mutating
from proa.objects.resource import MUTATING_ADMISSION_POLICIES

DEFINITION = ResourceDefinition(
    resource=MUTATING_ADMISSION_POLICIES,
    singular="mutatingadmissionpolicy",
    schema="io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
    categories=("api-extensions",),
    default=default_policy,
    heavy_bytes=2048,
    validate=validate_mutating,
    columns=policy_columns(
        "Mutations", "Mutation indicates the number of mutations rules defined in this configuration"
    ),
    cells=policy_cells("mutations"),
    tracks_generation=True,
    unconditional_update=False,
)
