"""Only claims in namespaces made for it have administrators' access to devices.

Upstream asks it where it validates claims (pkg/registry/resource/resourceclaim AuthorizedForAdmin); here it is an
admission plugin because it needs the namespace.
"""

from __future__ import annotations

from collections.abc import Iterator

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import invalid_object
from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import NAMESPACES, RESOURCE_CLAIM_TEMPLATES
from proa.objects.validation import forbidden

LABEL = "resource.kubernetes.io/admin-access"
WHY = f"admin access to devices requires the `{LABEL}: true` label on the containing namespace"


def validate(attributes: Attributes) -> None:
    """Check each request of a new claim or template, and each new result; raise Invalid."""
    obj, resource = attributes.obj, attributes.definition.resource
    if obj is None:
        return
    if attributes.subresource == "status":
        if list(_results(attributes.old or {})) == list(_results(obj)):
            return
        fields = list(_results(obj))
    elif attributes.operation == "CREATE":
        spec, path = obj["spec"], "spec"
        if resource == RESOURCE_CLAIM_TEMPLATES:
            spec, path = spec["spec"], "spec.spec"
        fields = list(_requests(spec, path))
    else:
        return
    if fields and not _is_allowed(attributes):
        causes = [forbidden(field, WHY) for field in fields]
        raise invalid_object(resource, attributes.name, causes)


def _requests(spec: Object, path: str) -> Iterator[str]:
    for index, request in enumerate((spec.get("devices") or {}).get("requests") or ()):
        if (request.get("exactly") or {}).get("adminAccess"):
            yield f"{path}.devices.requests[{index}].exactly.adminAccess"


def _results(claim: Object) -> Iterator[str]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    for index, result in enumerate((allocation.get("devices") or {}).get("results") or ()):
        if result.get("adminAccess"):
            yield f"status.allocation.devices.results[{index}].adminAccess"


def _is_allowed(attributes: Attributes) -> bool:
    namespace = attributes.catalog.of(NAMESPACES).find("", attributes.namespace)
    return namespace is not None and meta.labels(namespace).get(LABEL) == "true"
