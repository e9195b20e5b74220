"""Keep the rules of every ClusterRole with an aggregationRule those of the roles that it selects.

Watches cluster roles and writes their rules. Follows upstream's
pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import NotFound
from proa.objects.resource import CLUSTER_ROLES
from proa.objects.selectors import selector_from_dict
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "clusterrole-aggregation"


def _gathering_roles(_: Object, caches: Caches) -> Iterable[Key]:
    """Any role may be a part of any that gathers, also by way of others: there are few of them."""
    return [Key("", meta.name(role)) for role in caches(CLUSTER_ROLES).list() if role.get("aggregationRule")]


WATCHES = (Watch(CLUSTER_ROLES, find_keys=_gathering_roles),)


def plan(role: Object, roles: Sequence[Object]) -> list[Object] | None:
    """Return the rules that `role` should have, in the order of the selectors and names; None where it has them."""
    rules: list[Object] = []
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        chosen = selector_from_dict(selector)
        for other in sorted(roles, key=meta.name):
            if meta.name(other) != meta.name(role) and chosen.matches(meta.labels(other)):
                rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return None if rules == (role.get("rules") or []) else rules


async def reconcile(context: Context, key: Key) -> Result:
    """Write the rules of the role `key.name` where they are not right."""
    cache = context.caches(CLUSTER_ROLES)
    role = cache.get(key.name)
    if role is None or not role.get("aggregationRule"):
        return DONE
    rules = plan(role, cache.list())
    if rules is not None:
        try:
            await context.client.update(CLUSTER_ROLES, {**role, "rules": rules})
        except NotFound:
            return DONE
    return DONE
