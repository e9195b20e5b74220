"""Keep the condition Dangling of every FlowSchema true to whether its priority level exists.

Watches flow schemas and priority levels, writes the schemas' status. Follows apiserver/pkg/util/flowcontrol/
apf_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import Conflict, NotFound
from proa.objects.meta import format_time
from proa.objects.resource import FLOW_SCHEMAS, PRIORITY_LEVELS
from proa.reconcile.protocol import DONE, Caches, Context, Key, Result, Watch

NAME = "flow-schema"
DANGLING = "Dangling"


def _schemas_of(level: Object, caches: Caches) -> Iterable[Key]:
    return [
        Key("", meta.name(schema))
        for schema in caches(FLOW_SCHEMAS).list()
        if level_name(schema) == meta.name(level)
    ]


WATCHES = (Watch(FLOW_SCHEMAS), Watch(PRIORITY_LEVELS, find_keys=_schemas_of))


def level_name(schema: Object) -> str:
    """Return the name of the priority level that a schema's requests are of."""
    return str(schema["spec"]["priorityLevelConfiguration"].get("name", ""))


def plan(schema: Object | None, level: Object | None, now: float) -> Object | None:
    """Return the schema with what its condition must say, None where it says so."""
    if schema is None:
        return None
    name = level_name(schema)
    status, reason, state = ("True", "NotFound", "but there is no such object")
    if level is not None:
        status, reason, state = ("False", "Found", "and it exists")
    message = f'This FlowSchema references the PriorityLevelConfiguration object named "{name}" {state}'
    conditions = (schema.get("status") or {}).get("conditions") or []
    had: Object = next((c for c in conditions if c.get("type") == DANGLING), {})
    wanted = {"type": DANGLING, "status": status, "reason": reason, "message": message}
    if {**had, **wanted} == had:
        return None
    changed = had["lastTransitionTime"] if had.get("status") == status else format_time(now)
    others = [c for c in conditions if c.get("type") != DANGLING]
    return {**schema, "status": {"conditions": [*others, {**wanted, "lastTransitionTime": changed}]}}


async def reconcile(context: Context, key: Key) -> Result:
    """Write the condition of the schema `key.name` where it is missing or wrong."""
    schema = context.caches(FLOW_SCHEMAS).get(key.name)
    level = context.caches(PRIORITY_LEVELS).get(level_name(schema)) if schema else None
    decided = plan(schema, level, context.now())
    if decided is not None:
        try:
            context.caches(FLOW_SCHEMAS).wrote(await context.client.update(FLOW_SCHEMAS, decided, "status"))
        except (Conflict, NotFound):
            return DONE  # its change is on the way here
    return DONE
