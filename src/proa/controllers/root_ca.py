"""Keep a ConfigMap `kube-root-ca.crt` with the cluster's CA certificate in every active namespace.

Pods mount it beside their service-account token, to trust the API server. Watches namespaces, and of config maps only
those of this name: a cache of all of them would hold their data.
Follows upstream's pkg/controller/certificates/rootcacertpublisher/publisher.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import AlreadyExists, Forbidden, NotFound
from proa.objects.resource import CONFIG_MAPS, NAMESPACES
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

NAME = "root-ca-publisher"
ACCOUNT = "root-ca-cert-publisher"
CONFIG_MAP = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as "
    "the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)


OURS = f"metadata.name={CONFIG_MAP}"


def _namespace_of(config_map: Object) -> Iterable[Key]:
    return (Key("", meta.namespace(config_map)),)


WATCHES = (Watch(NAMESPACES), Watch(CONFIG_MAPS, keys_of=_namespace_of, field_selector=OURS))


class Plan(NamedTuple):
    """At most one of the two is set: the ConfigMap to create, or the one to write over what is there."""

    create: Object | None = None
    update: Object | None = None


def plan(namespace_object: Object | None, existing: Object | None, ca_certificate: str) -> Plan:
    """Decide what the namespace's ConfigMap lacks; a namespace that is going is left alone."""
    if namespace_object is None or meta.is_deleting(namespace_object):
        return Plan()
    data = {"ca.crt": ca_certificate}
    described = {"kubernetes.io/description": DESCRIPTION}
    if existing is None:
        metadata = {"name": CONFIG_MAP, "namespace": meta.name(namespace_object), "annotations": described}
        return Plan(create={"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    kept = meta.annotations(existing)
    if existing.get("data") == data and kept.get("kubernetes.io/description") == DESCRIPTION:
        return Plan()
    metadata = {**existing["metadata"], "annotations": {**kept, **described}}
    return Plan(update={**existing, "metadata": metadata, "data": data})


async def reconcile(context: Context, key: Key) -> Result:
    """Write the ConfigMap of the namespace `key.name` where it is missing or wrong."""
    found = context.caches(NAMESPACES).get(key.name)
    existing = context.caches(CONFIG_MAPS, OURS).get(CONFIG_MAP, key.name)
    decided = plan(found, existing, context.settings.ca_certificate)
    try:
        if decided.create is not None:
            await context.client.create(CONFIG_MAPS, decided.create, key.name)
        elif decided.update is not None:
            await context.client.update(CONFIG_MAPS, decided.update)
    except (AlreadyExists, NotFound):
        return DONE  # somebody else made it, or the namespace is gone
    except Forbidden as error:
        if not error.is_of_ending_namespace:
            raise
    return DONE
