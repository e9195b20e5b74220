"""A pod's priority is that of its class, or of the default class: 0 and PreemptLowerPriority where there is none.

Follows plugin/pkg/admission/priority/admission.go.
"""

from __future__ import annotations

import orjson

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.refusals import forbidden
from proa.client.protocol import Object
from proa.objects.resource import PODS, PRIORITY_CLASSES

DEFAULT_PREEMPTION = "PreemptLowerPriority"
_MARK = b'"globalDefault":true'


def admit(attributes: Attributes) -> None:
    """Set a pod's spec.priority and spec.preemptionPolicy, which then stay; raise Forbidden."""
    pod = attributes.obj
    if attributes.subresource or pod is None or attributes.definition.resource != PODS:
        return
    spec = pod.setdefault("spec", {})
    if attributes.operation == "UPDATE":
        for key in ("priority", "preemptionPolicy"):
            had = ((attributes.old or {}).get("spec") or {}).get(key)
            if had is not None:
                spec.setdefault(key, had)
    elif attributes.operation == "CREATE":
        _set_priority(spec, _find_class(attributes, spec), attributes.name)


def _find_class(attributes: Attributes, spec: Object) -> Object | None:
    """Return the pod's class, which may be the default one; raise Forbidden."""
    name = spec.get("priorityClassName")
    if not name:
        found = find_default(attributes.catalog)
        if found is not None:
            spec["priorityClassName"] = found["metadata"]["name"]
        return found
    found = attributes.catalog.of(PRIORITY_CLASSES).find("", name)
    if found is None:
        raise forbidden(PODS, attributes.name, f"no PriorityClass with name {name} was found")
    return found


def find_default(catalog: Catalog) -> Object | None:
    """Return the default class, which is not to be changed; where there are several, the one of the lowest value."""
    return catalog.derived(_read_default, PRIORITY_CLASSES)


def _read_default(catalog: Catalog) -> Object | None:
    registry = catalog.of(PRIORITY_CLASSES)
    entries = registry.store.range(registry.prefix).entries
    found = [orjson.loads(entry.value) for entry in entries if _MARK in entry.value]
    defaults = [priority_class for priority_class in found if priority_class.get("globalDefault")]
    return min(defaults, key=lambda c: c.get("value", 0), default=None)


def _set_priority(spec: Object, priority_class: Object | None, name: str) -> None:
    value = (priority_class or {}).get("value", 0)
    policy = (priority_class or {}).get("preemptionPolicy") or DEFAULT_PREEMPTION
    computed = "priority admission controller computed {} from the given PriorityClass name"
    given = spec.get("priority")
    if given is not None and given != value:
        why = f"the integer value of priority ({given}) must not be provided in pod spec; {computed.format(value)}"
        raise forbidden(PODS, name, why)
    said = spec.get("preemptionPolicy")
    if said is not None and said != policy:
        why = f"the string value of PreemptionPolicy ({said}) must not be provided in pod spec; "
        raise forbidden(PODS, name, why + computed.format(policy))
    spec["priority"], spec["preemptionPolicy"] = value, policy


def validate(attributes: Attributes) -> None:
    """Raise Forbidden for a second default class."""
    priority_class = attributes.obj
    if attributes.definition.resource != PRIORITY_CLASSES or priority_class is None:
        return
    if not priority_class.get("globalDefault"):
        return
    found = find_default(attributes.catalog)
    if found is None:
        return
    name = found["metadata"]["name"]
    if attributes.operation == "CREATE" or name != priority_class["metadata"].get("name"):
        why = f"PriorityClass {name} is already marked as default. Only one default can exist"
        raise forbidden(PRIORITY_CLASSES, attributes.name, why)
