"""A MutatingWebhookConfiguration names programs that may change objects before they are stored.

Follows pkg/registry/admissionregistration/mutatingwebhookconfiguration and printMutatingWebhook.
"""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.admissionregistration.webhook_defaults import default_mutating
from proa.apiserver.resources.admissionregistration.webhook_printing import COLUMNS, cells
from proa.apiserver.resources.admissionregistration.webhook_rules import validate_mutating
from proa.objects.resource import MUTATING_WEBHOOK_CONFIGURATIONS

DEFINITION = ResourceDefinition(
    resource=MUTATING_WEBHOOK_CONFIGURATIONS,
    singular="mutatingwebhookconfiguration",
    schema="io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
    categories=("api-extensions",),
    default=default_mutating,
    validate=validate_mutating,
    columns=COLUMNS,
    cells=cells,
    tracks_generation=True,
    unconditional_update=False,
)
