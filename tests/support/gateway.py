"""Objects that the gateway's planners are asked about, and the world around them."""

from __future__ import annotations

import base64
import datetime
import functools
from typing import Any

from proa.network.gateway.certificates import Certificate, make_default_certificate
from proa.network.gateway.model import ObjectKey

Object = dict[str, Any]


class FakeWorld:
    """A `World` of the objects that it is given."""

    def __init__(self, *objects: Object) -> None:
        self._objects = {
            (o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in objects
        }

    def service(self, key: ObjectKey) -> Object | None:
        return self._objects.get(("Service", *key))

    def secret(self, key: ObjectKey) -> Object | None:
        return self._objects.get(("Secret", *key))

    def namespace(self, name: str) -> Object | None:
        return self._objects.get(("Namespace", "", name))

    def grants(self, namespace: str) -> list[Object]:
        return [
            o
            for (kind, space, _), o in self._objects.items()
            if (kind, space) == ("ReferenceGrant", namespace)
        ]


def make(kind: str, name: str, namespace: str = "default", /, **fields: Any) -> Object:
    """Return an object; `created` and `labels` go into its metadata."""
    metadata: Object = {
        "name": name,
        "uid": f"{kind}-{namespace}-{name}",
        "generation": 1,
        "creationTimestamp": fields.pop("created", "2026-01-01T00:00:00Z"),
        "labels": fields.pop("labels", {}),
        "annotations": fields.pop("annotations", {}),
    }
    if namespace:
        metadata["namespace"] = namespace
    return {"kind": kind, "metadata": metadata, **fields}


def make_service(name: str, namespace: str = "default", *ports: Object, **spec: Any) -> Object:
    """Return a Service, with a port 80 named http unless told otherwise."""
    return make(
        "Service", name, namespace, spec={"ports": [*ports] or [{"name": "http", "port": 80}], **spec}
    )


@functools.cache
def some_certificate(number: int = 0) -> Certificate:
    """Return a certificate that works; another for each number."""
    return make_default_certificate(datetime.datetime(2026, 1, 1 + number, tzinfo=datetime.UTC))


def make_tls_secret(name: str, namespace: str = "default", number: int = 0) -> Object:
    """Return a Secret with a certificate."""
    chain, key = (base64.b64encode(part.encode()).decode() for part in some_certificate(number))
    return make("Secret", name, namespace, type="kubernetes.io/tls", data={"tls.crt": chain, "tls.key": key})


def make_path(path: str, service: str, kind: str = "Prefix", port: int | str = 80) -> Object:
    """Return a path of an Ingress."""
    number = {"number": port} if isinstance(port, int) else {"name": port}
    return {"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": number}}}


def make_ingress(name: str, rules: dict[str, list[Object]], /, **fields: Any) -> Object:
    """Return an Ingress with these paths for each host ("" any); further fields of its spec by name."""
    metadata = {key: fields.pop(key) for key in ("created", "annotations") if key in fields}
    spec = {
        "ingressClassName": "proa",
        "rules": [
            {**({"host": host} if host else {}), "http": {"paths": paths}} for host, paths in rules.items()
        ],
        **fields,
    }
    return make("Ingress", name, fields.pop("namespace", "default"), spec=spec, **metadata)


def make_gateway(name: str, *listeners: Object, namespace: str = "default", **fields: Any) -> Object:
    """Return a Gateway of our class."""
    metadata = {key: fields.pop(key) for key in ("created",) if key in fields}
    return make(
        "Gateway",
        name,
        namespace,
        spec={"gatewayClassName": "proa", "listeners": [*listeners], **fields},
        **metadata,
    )


def make_listener(name: str = "http", port: int = 80, protocol: str = "HTTP", **fields: Any) -> Object:
    """Return a Gateway's listener."""
    return {"name": name, "port": port, "protocol": protocol, **fields}


def make_route(
    name: str, *rules: Object, kind: str = "HTTPRoute", namespace: str = "default", **spec: Any
) -> Object:
    """Return a route to Gateway `gw` of its own namespace, unless `parentRefs` say otherwise."""
    created = spec.pop("created", "2026-01-01T00:00:00Z")
    return make(
        kind,
        name,
        namespace,
        created=created,
        spec={"parentRefs": [{"name": "gw"}], "rules": [*rules], **spec},
    )


def to(service: str, weight: int = 1, **fields: Any) -> Object:
    """Return a backendRef to port 80 of a Service."""
    return {"name": service, "port": 80, "weight": weight, **fields}
