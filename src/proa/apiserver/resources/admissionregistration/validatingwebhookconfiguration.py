"""A ValidatingWebhookConfiguration names programs that may refuse what is about to be stored.

Follows pkg/registry/admissionregistration/validatingwebhookconfiguration and printValidatingWebhook.
"""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition
from proa.apiserver.resources.admissionregistration.webhook_defaults import default_validating
from proa.apiserver.resources.admissionregistration.webhook_printing import COLUMNS, cells
from proa.apiserver.resources.admissionregistration.webhook_rules import validate_validating
from proa.objects.resource import VALIDATING_WEBHOOK_CONFIGURATIONS

DEFINITION = ResourceDefinition(
    resource=VALIDATING_WEBHOOK_CONFIGURATIONS,
    singular="validatingwebhookconfiguration",
    schema="io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
    categories=("api-extensions",),
    default=default_validating,
    validate=validate_validating,
    columns=COLUMNS,
    cells=cells,
    tracks_generation=True,
    unconditional_update=False,
)
