"""Nothing is created in a namespace that does not exist or is going, and some namespaces are never deleted.

Follows apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go.
"""

from __future__ import annotations

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import forbidden, not_found
from proa.objects.errors import Cause
from proa.objects.resource import NAMESPACES

IMMORTAL = frozenset(("default", "kube-system", "kube-public"))


def admit(attributes: Attributes) -> None:
    """Raise NotFound or Forbidden."""
    resource = attributes.definition.resource
    if attributes.operation == "DELETE":
        if resource == NAMESPACES and attributes.name in IMMORTAL:
            raise forbidden(resource, attributes.name, "this namespace may not be deleted")
        return
    if attributes.operation != "CREATE" or not resource.namespaced or attributes.definition.review:
        return
    namespace = attributes.namespace
    is_there, is_going = attributes.catalog.namespace_state(namespace)
    if not is_there:
        raise not_found(NAMESPACES, namespace)
    if is_going:
        cause = Cause(
            "NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace"
        )
        raise forbidden(
            resource,
            attributes.name,
            f"unable to create new content in namespace {namespace} because it is being terminated",
            [cause],
        )
