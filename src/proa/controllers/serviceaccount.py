"""Keep a ServiceAccount named `default` in every active namespace.

Watches namespaces and service accounts; creates service accounts. Follows upstream's
pkg/controller/serviceaccount/serviceaccounts_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from proa.client.protocol import Object
from proa.objects.errors import AlreadyExists, Forbidden, NotFound
from proa.objects.meta import is_deleting, namespace
from proa.objects.resource import NAMESPACES, SERVICE_ACCOUNTS
from proa.reconcile.protocol import DONE, Context, Key, Result, Watch

NAME = "serviceaccount"
ACCOUNT = "service-account-controller"
DEFAULT = "default"


def _namespace_of(obj: Object) -> Iterable[Key]:
    return (Key("", namespace(obj)),)


WATCHES = (Watch(NAMESPACES), Watch(SERVICE_ACCOUNTS, keys_of=_namespace_of))


class Plan(NamedTuple):
    """`create` is the account that is missing, if one is."""

    create: Object | None = None


def plan(namespace_object: Object | None, existing: Object | None) -> Plan:
    """Decide whether the namespace lacks its default account; one that is going gets none."""
    if namespace_object is None or is_deleting(namespace_object) or existing is not None:
        return Plan()
    space = namespace_object["metadata"]["name"]
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": DEFAULT, "namespace": space},
    }
    return Plan(create=account)


async def reconcile(context: Context, key: Key) -> Result:
    """Create the default account of the namespace `key.name` where it is missing."""
    found = context.caches(NAMESPACES).get(key.name)
    wanted = plan(found, context.caches(SERVICE_ACCOUNTS).get(DEFAULT, key.name)).create
    if wanted is not None:
        try:
            await context.client.create(SERVICE_ACCOUNTS, wanted, key.name)
        except (AlreadyExists, NotFound):
            return DONE  # somebody else made it, or the namespace is gone
        except Forbidden as error:
            if not error.is_of_ending_namespace:
                raise
    return DONE
