"""Name Gateway API's resources, and read in which version a server has them."""

from __future__ import annotations

from proa.client.protocol import Object
from proa.network.gateway.gateways import GROUP
from proa.objects import meta
from proa.objects.resource import Resource

GATEWAY_CLASSES = Resource(GROUP, "v1", "gatewayclasses", "GatewayClass", namespaced=False)
GATEWAYS = Resource(GROUP, "v1", "gateways", "Gateway")
HTTP_ROUTES = Resource(GROUP, "v1", "httproutes", "HTTPRoute")
GRPC_ROUTES = Resource(GROUP, "v1", "grpcroutes", "GRPCRoute")
REFERENCE_GRANTS = Resource(GROUP, "v1", "referencegrants", "ReferenceGrant")
ROUTES = (HTTP_ROUTES, GRPC_ROUTES)
RESOURCES = {r.qualified_name: r for r in (GATEWAY_CLASSES, GATEWAYS, *ROUTES, REFERENCE_GRANTS)}
VERSIONS = ("v1", "v1beta1")


def served_resource(crd: Object) -> Resource | None:
    """Return the resource that a definition of Gateway API's serves, in the newest version that is known here."""
    resource = RESOURCES.get(meta.name(crd))
    if resource is None or meta.is_deleting(crd) or not meta.has_condition(crd, "Established"):
        return None
    served = {entry["name"] for entry in crd["spec"]["versions"] if entry.get("served")}
    version = next((version for version in VERSIONS if version in served), None)
    return resource._replace(version=version) if version is not None else None
