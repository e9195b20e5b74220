"""A Binding assigns a pod to a node; asked and not stored, the older way to say what pods/binding says.

Follows pkg/registry/core/pod/storage/storage.go (LegacyBindingREST).
"""

from __future__ import annotations

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.definition import ResourceDefinition
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import PODS, Resource
from proa.objects.validation import required

RESOURCE = Resource("", "v1", "bindings", "Binding")


def validate(binding: Object) -> list[Cause]:
    """Check that it says which pod; the rest is as for pods/binding."""
    if binding["metadata"].get("name"):
        return []
    return [required("metadata.name", "name or generateName is required")]


async def review(attributes: Attributes) -> Object:
    """Assign the pod of the Binding's name."""
    from proa.apiserver.handlers.binding import assign  # which knows this package's registries

    binding = attributes.obj or {}
    pods = attributes.catalog.of(PODS)
    name = binding["metadata"]["name"]
    await assign(pods, attributes.namespace, name, binding, attributes.user, dry_run=attributes.dry_run)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


DEFINITION = ResourceDefinition(
    resource=RESOURCE,
    singular="binding",
    schema="io.k8s.api.core.v1.Binding",
    verbs=("create",),
    validate=validate,
    review=review,
)
