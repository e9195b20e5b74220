"""What a cluster has for pipelines: their namespace, the Services by which clients find them, and who visitors are.

Made once: what an administrator has taken away (the visitors' binding) is not made again. Names and ports are
upstream's (manifests/kustomize/base/pipeline). The Services have no pods behind them: this process answers.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from proa.client.protocol import Client, Object
from proa.ml.pipelines.api.access import API, GROUP, NAMESPACE, VISITOR
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import ENDPOINT_SLICES, NAMESPACES, SERVICE_ACCOUNTS, SERVICES, Resource

ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
UI = "ml-pipeline-ui"
PORTS = {API: 8888, UI: 80}
POD_SECURITY = {"pod-security.kubernetes.io/enforce": "baseline"}
"""Who reaches the API may make runs there, whose account may make pods: none that is the node's root."""
_LABELS = {"app.kubernetes.io/part-of": "kubeflow", "app.kubernetes.io/name": "kubeflow-pipelines"}


async def install(client: Client, address: str, port: int) -> None:
    """See that all of it is there; the Services lead to `address`:`port`. Raises ApiError."""
    slices = [make_slice(name, address, port) for name in PORTS]
    found = [await _find(client, wanted) for wanted in slices]
    if None in found:
        labels = {**_LABELS, **POD_SECURITY}
        await _create(client, NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": labels}}, None)
        await asyncio.gather(*(_create(client, *made, NAMESPACE) for made in make_objects()))
    for wanted, there in zip(slices, found, strict=True):
        if there is None:
            await _create(client, ENDPOINT_SLICES, wanted, NAMESPACE)
        elif any(there.get(key) != wanted[key] for key in ("endpoints", "ports")):
            await client.update(ENDPOINT_SLICES, {**there, **wanted, "metadata": there["metadata"]})


def make_objects() -> list[tuple[Resource, Object]]:
    """Return what is in the namespace, but for where the Services lead."""
    metadata = {"name": VISITOR}
    rules = [{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["*"]}]
    subject = {"kind": "ServiceAccount", "name": VISITOR, "namespace": NAMESPACE}
    role = {"apiGroup": ROLES.group, "kind": "Role", "name": VISITOR}
    return [
        (SERVICE_ACCOUNTS, {"metadata": metadata}),
        (ROLES, {"metadata": metadata, "rules": rules}),
        (ROLE_BINDINGS, {"metadata": metadata, "roleRef": role, "subjects": [subject]}),
        *((SERVICES, make_service(name)) for name in PORTS),
    ]


def make_service(name: str) -> Object:
    """Return a Service; its EndpointSlice says where it leads."""
    return {
        "metadata": {"name": name, "labels": {**_LABELS, "app": name}},
        "spec": {"ports": [{"name": "http", "port": PORTS[name], "protocol": "TCP"}]},
    }


def make_slice(name: str, address: str, port: int) -> Object:
    """Return the EndpointSlice of a Service."""
    return {
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
    }


async def _find(client: Client, wanted: Object) -> Object | None:
    with suppress(NotFound):
        return await client.get(ENDPOINT_SLICES, wanted["metadata"]["name"], NAMESPACE)
    return None


async def _create(client: Client, resource: Resource, obj: Object, namespace: str | None) -> None:
    body = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
    with suppress(AlreadyExists):
        await client.create(resource, body, namespace)
