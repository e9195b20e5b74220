"""See that each group version that this server serves has an APIService that says so, and that no other one says so.

Follows kube-aggregator/pkg/controllers/autoregister and pkg/controlplane/controller/crdregistration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping

import orjson

from proa.apiserver.aggregation.priorities import CUSTOM, OWN_GROUP, PRIORITIES
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.deletion import DeleteOptions
from proa.client.protocol import Object, User
from proa.objects.errors import AlreadyExists, Conflict, NotFound
from proa.objects.meta import labels
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import API_SERVICES

MANAGED = "kube-aggregator.kubernetes.io/automanaged"
USER = User("system:apiserver", ("system:masters", "system:authenticated"))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is missing, what says something else, and what is not served any more."""

    create: tuple[Object, ...]
    update: tuple[Object, ...]
    delete: tuple[str, ...]


def plan(
    served: Iterable[tuple[str, str]],
    found: Mapping[str, Object],
    embedded: Collection[tuple[str, str]] = (),
) -> Plan:
    """Return what to do, given the group versions that are served and the APIServices that there are.

    One that is `embedded` gets an APIService where it has none, which anybody may point elsewhere.
    """
    wanted = {
        f"{version}.{group}": make_api_service(group, version)
        for group, version in served
        if group != OWN_GROUP
    }
    offered = {f"{version}.{group}": make_api_service(group, version) for group, version in embedded}
    create = tuple(obj for name, obj in {**offered, **wanted}.items() if name not in found)
    update = tuple(
        {**found[name], "spec": obj["spec"]}
        for name, obj in wanted.items()
        if name in found and MANAGED in labels(found[name]) and found[name].get("spec") != obj["spec"]
    )
    kept = offered.keys() | wanted.keys()
    delete = tuple(name for name, obj in found.items() if MANAGED in labels(obj) and name not in kept)
    return Plan(create, update, delete)


def make_api_service(group: str, version: str) -> Object:
    """Return the APIService of a group version that this server serves."""
    priorities = PRIORITIES.get((group, version))
    group_priority, version_priority = priorities or CUSTOM
    spec = {"version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority}
    return {
        "kind": API_SERVICES.kind,
        "apiVersion": API_SERVICES.api_version,
        "metadata": {"name": f"{version}.{group}", "labels": {MANAGED: "onstart" if priorities else "true"}},
        "spec": {"group": group, **spec} if group else spec,
    }


async def register(catalog: Catalog, embedded: Collection[tuple[str, str]] = ()) -> None:
    """Carry the plan out; running it twice changes nothing."""
    registry = catalog.of(API_SERVICES)
    found: dict[str, Object] = {}
    for entry in registry.store.range(registry.prefix).entries:
        obj = orjson.loads(entry.value)
        found[obj["metadata"]["name"]] = obj
    todo = plan(catalog.group_versions, found, embedded)

    async def create(obj: Object) -> None:
        try:
            await registry.create(obj, "", USER)
        except AlreadyExists:
            return  # somebody else was faster: the next round looks at it

    async def update(obj: Object) -> None:
        try:
            await registry.update("", obj["metadata"]["name"], lambda old: obj, USER)
        except (Conflict, NotFound):
            return  # the change that came between has its own round

    async def delete(name: str) -> None:
        try:
            await registry.delete("", name, DeleteOptions(), USER)
        except NotFound:
            return

    await asyncio.gather(*map(create, todo.create), *map(update, todo.update), *map(delete, todo.delete))
