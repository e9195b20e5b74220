"""A ServiceAccount is an identity for pods; it has no rules beyond its name."""

from __future__ import annotations

from proa.apiserver.registry.definition import ResourceDefinition, Subresource
from proa.apiserver.resources.printing import AGE, NAME
from proa.objects.resource import SERVICE_ACCOUNTS

DEFINITION = ResourceDefinition(
    resource=SERVICE_ACCOUNTS,
    singular="serviceaccount",
    schema="io.k8s.api.core.v1.ServiceAccount",
    short_names=("sa",),
    subresources=(Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io/v1"),),
    columns=(NAME, AGE),
    returns_deleted=True,
)
