"""Let pods find the DBManager where they look for it: `katib-db-manager.kubeflow:6789`, upstream's name and port.

The Service has no pods behind it: this process answers. It is headless, so that a pod connects to where this process
listens without a proxy between them, however its node carries Services: its own address says whose it is.
"""

from __future__ import annotations

from contextlib import suppress

from proa.client.protocol import Client, Object
from proa.ml.tuning.kinds import DB_MANAGER, DB_MANAGER_PORT, NAMESPACE
from proa.objects.errors import AlreadyExists, NotFound
from proa.objects.resource import ENDPOINT_SLICES, NAMESPACES, SERVICES, Resource

_LABELS = {"app.kubernetes.io/part-of": "kubeflow", "app.kubernetes.io/name": "katib"}
_POD_SECURITY = {"pod-security.kubernetes.io/enforce": "baseline"}
"""As pipelines make the namespace, where they come first."""
_PORT_NAME = "api"


async def install(client: Client, address: str, port: int) -> None:
    """See that the Service is there and leads to `address`:`port`. Raises ApiError."""
    wanted = make_slice(address, port)
    try:
        there = await client.get(ENDPOINT_SLICES, DB_MANAGER, NAMESPACE)
    except NotFound:
        labels = {**_LABELS, **_POD_SECURITY}
        await _create(client, NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": labels}}, None)
        await _create(client, SERVICES, make_service(), NAMESPACE)
        await _create(client, ENDPOINT_SLICES, wanted, NAMESPACE)
        return
    if any(there.get(key) != wanted[key] for key in ("endpoints", "ports")):
        await client.update(ENDPOINT_SLICES, {**there, **wanted, "metadata": there["metadata"]})


def make_service() -> Object:
    """Return the Service; its EndpointSlice says where it leads."""
    port = {"name": _PORT_NAME, "port": DB_MANAGER_PORT, "protocol": "TCP"}
    return {
        "metadata": {"name": DB_MANAGER, "labels": {**_LABELS, "app": DB_MANAGER}},
        "spec": {"clusterIP": "None", "ports": [port]},
    }


def make_slice(address: str, port: int) -> Object:
    """Return the EndpointSlice of the Service."""
    labels = {"kubernetes.io/service-name": DB_MANAGER}
    return {
        "metadata": {"name": DB_MANAGER, "namespace": NAMESPACE, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": _PORT_NAME, "port": port, "protocol": "TCP"}],
    }


async def _create(client: Client, resource: Resource, obj: Object, namespace: str | None) -> None:
    body = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
    with suppress(AlreadyExists):
        await client.create(resource, body, namespace)
