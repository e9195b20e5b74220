"""See at every start that the flow schemas and priority levels are there that every cluster has.

Follows pkg/registry/flowcontrol/rest/storage_flowcontrol.go and flowcontrol/ensurer: mandatory objects are brought to
what they must be; suggested ones are, too, unless somebody has made them their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from proa.apiserver.resources.flowcontrol.system_objects import (
    MANDATORY_FLOW_SCHEMAS,
    MANDATORY_PRIORITY_LEVELS,
    SUGGESTED_FLOW_SCHEMAS,
    SUGGESTED_PRIORITY_LEVELS,
    Spec,
)
from proa.client.protocol import Client, Object
from proa.objects import meta
from proa.objects.errors import AlreadyExists, Conflict, NotFound
from proa.objects.resource import FLOW_SCHEMAS, PRIORITY_LEVELS, Resource

AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"


class Plan(NamedTuple):
    """What to create, and what to write over what is there."""

    create: list[Object]
    update: list[Object]


async def ensure_flow_control(client: Client) -> None:
    """Create and update what is not as it should be; levels first, since schemas name them."""
    await _ensure(client, PRIORITY_LEVELS, MANDATORY_PRIORITY_LEVELS, SUGGESTED_PRIORITY_LEVELS)
    await _ensure(client, FLOW_SCHEMAS, MANDATORY_FLOW_SCHEMAS, SUGGESTED_FLOW_SCHEMAS)


async def _ensure(
    client: Client, resource: Resource, mandatory: dict[str, Spec], suggested: dict[str, Spec]
) -> None:
    found = (await client.list(resource)).items
    decided = plan(found, mandatory, suggested)
    head = {"apiVersion": resource.api_version, "kind": resource.kind}
    await asyncio.gather(
        *[_write(client, resource, {**head, **obj}, is_new=True) for obj in decided.create],
        *[_write(client, resource, {**head, **obj}, is_new=False) for obj in decided.update],
    )


async def _write(client: Client, resource: Resource, obj: Object, *, is_new: bool) -> None:
    try:
        await (client.create(resource, obj) if is_new else client.update(resource, obj))
    except (AlreadyExists, Conflict, NotFound):
        return  # somebody was faster; the next start looks again


def plan(found: Sequence[Object], mandatory: dict[str, Spec], suggested: dict[str, Spec]) -> Plan:
    """Compare what is there with what every cluster has."""
    by_name = {meta.name(obj): obj for obj in found}
    decided = Plan([], [])
    for name, spec in (mandatory | suggested).items():
        existing = by_name.get(name)
        if existing is None:
            metadata = {"name": name, "annotations": {AUTO_UPDATE: "true"}}
            decided.create.append({"metadata": metadata, "spec": spec})
        elif name in mandatory or _is_ours(existing):
            wanted = {**spec, "exempt": existing["spec"]["exempt"]} if _keeps_exempt(existing, spec) else spec
            if existing["spec"] != wanted:
                decided.update.append({**existing, "spec": wanted})
    return decided


def _is_ours(obj: Object) -> bool:
    """Tell whether nobody has taken the object over: by annotation, or else by having changed it."""
    noted = meta.annotations(obj).get(AUTO_UPDATE)
    return noted == "true" if noted in ("true", "false") else obj["metadata"].get("generation") == 1


def _keeps_exempt(existing: Object, spec: Spec) -> bool:
    """Tell whether the part is there that administrators may set even of the mandatory level `exempt`."""
    return "exempt" in spec and "exempt" in existing["spec"]
