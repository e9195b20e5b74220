"""Pods and claims keep to the LimitRanges of their namespace, which also say what a silent container gets.

Follows plugin/pkg/admission/limitranger/admission.go: `admit` fills in requests and limits, `validate` compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.refusals import forbidden
from proa.client.protocol import Object
from proa.objects.pods import total_resources
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.resource import LIMIT_RANGES, PODS

ANNOTATION = "kubernetes.io/limit-ranger"
MAX_NAMESPACES = 4096
"""Of so many is remembered which they have."""
Quantities = Mapping[str, str]


def admit(attributes: Attributes) -> None:
    """Give a new pod's containers the namespace's defaults."""
    pod = attributes.obj
    if attributes.operation != "CREATE" or attributes.subresource or attributes.definition.resource != PODS:
        return
    assert pod is not None
    for limit_range in _limit_ranges(attributes):
        _fill_in(pod, limit_range)


def validate(attributes: Attributes) -> None:
    """Raise Forbidden for what is below a minimum, above a maximum, or has too large a ratio."""
    obj, is_pod = attributes.obj, attributes.definition.resource == PODS
    if obj is None or attributes.operation not in ("CREATE", "UPDATE"):
        return
    is_resize = is_pod and attributes.subresource == "resize"
    if (attributes.subresource or (is_pod and attributes.operation == "UPDATE")) and not is_resize:
        return
    if obj["metadata"].get("deletionTimestamp"):
        return
    for limit_range in _limit_ranges(attributes):
        limits = (limit_range.get("spec") or {}).get("limits") or ()
        find = _pod_violations if is_pod else _claim_violations
        found = list(dict.fromkeys(why for limit in limits for why in find(limit, obj.get("spec") or {})))
        if found:
            why = found[0] if len(found) == 1 else f"[{', '.join(found)}]"
            raise forbidden(attributes.definition.resource, attributes.name, why)


def _limit_ranges(attributes: Attributes) -> list[Object]:
    """Return those of the namespace, which are not to be changed; they are read when the first pod asks."""
    catalog, namespace = attributes.catalog, attributes.namespace
    known = catalog.derived(_none_yet, LIMIT_RANGES)
    found = known.get(namespace)
    if found is None:
        registry = catalog.of(LIMIT_RANGES)
        entries = registry.store.range(registry.scope(namespace)).entries
        if len(known) >= MAX_NAMESPACES:
            known.clear()
        found = known[namespace] = [orjson.loads(entry.value) for entry in entries]
    return found


def _none_yet(catalog: Catalog) -> dict[str, list[Object]]:
    return {}


# Defaults.


def _fill_in(pod: Object, limit_range: Object) -> None:
    """Set what containers do not say, and note in an annotation what was set."""
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for limit in (limit_range.get("spec") or {}).get("limits") or ():
        if limit.get("type") == "Container":
            requests |= limit.get("defaultRequest") or {}
            limits |= limit.get("default") or {}
    notes = []
    for title, key in (("container", "containers"), ("init container", "initContainers")):
        for container in (pod.get("spec") or {}).get(key) or ():
            for what, defaults in (("requests", requests), ("limits", limits)):
                missing = _set_missing(container, what, defaults)
                if missing:
                    notes.append(f"{', '.join(missing)} {what[:-1]} for {title} {container['name']}")
    if notes:
        annotations = pod["metadata"].get("annotations") or {}
        said = f"LimitRanger plugin set: {'; '.join(notes)}"
        pod["metadata"]["annotations"] = {**annotations, ANNOTATION: said}


def _set_missing(container: Object, what: str, defaults: Quantities) -> list[str]:
    """Return the names of the resources that were set, sorted."""
    resources = container.get("resources") or {}
    said = resources.get(what) or {}
    missing = sorted(defaults.keys() - said.keys())
    if missing:
        container["resources"] = {**resources, what: {**said, **{name: defaults[name] for name in missing}}}
    return missing


# Comparisons.


def _pod_violations(limit: Object, spec: Object) -> Iterator[str]:
    kind = limit.get("type", "")
    if kind == "Container":
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            resources = container.get("resources") or {}
            yield from _violations(
                limit, kind, resources.get("requests") or {}, resources.get("limits") or {}
            )
    elif kind == "Pod":
        yield from _violations(
            limit, kind, total_resources(spec, "requests"), total_resources(spec, "limits")
        )


def _claim_violations(limit: Object, spec: Object) -> Iterator[str]:
    kind = limit.get("type", "")
    if kind != "PersistentVolumeClaim":
        return
    requests = (spec.get("resources") or {}).get("requests") or {}
    for name, bound in (limit.get("min") or {}).items():
        yield from _below(kind, name, bound, requests, {})
    for name, bound in (limit.get("max") or {}).items():
        start = f"maximum {name} usage per {kind} is {canonicalize(bound)}"
        if name not in requests:
            yield f"{start}.  No request is specified"
        elif parse_quantity(requests[name]) > parse_quantity(bound):
            yield f"{start}, but request is {canonicalize(requests[name])}"


def _violations(limit: Object, kind: str, requests: Quantities, limits: Quantities) -> Iterator[str]:
    for name, bound in (limit.get("min") or {}).items():
        yield from _below(kind, name, bound, requests, limits)
    for name, bound in (limit.get("max") or {}).items():
        yield from _above(kind, name, bound, requests, limits)
    for name, bound in (limit.get("maxLimitRequestRatio") or {}).items():
        yield from _out_of_ratio(kind, name, bound, requests, limits)


def _below(kind: str, name: str, bound: str, requests: Quantities, limits: Quantities) -> Iterator[str]:
    start = f"minimum {name} usage per {kind} is {canonicalize(bound)}"
    if name not in requests:
        yield f"{start}.  No request is specified"
    elif parse_quantity(requests[name]) < parse_quantity(bound):
        yield f"{start}, but request is {canonicalize(requests[name])}"
    elif name in limits and parse_quantity(limits[name]) < parse_quantity(bound):
        yield f"{start}, but limit is {canonicalize(limits[name])}"


def _above(kind: str, name: str, bound: str, requests: Quantities, limits: Quantities) -> Iterator[str]:
    start = f"maximum {name} usage per {kind} is {canonicalize(bound)}"
    if name not in limits:
        yield f"{start}.  No limit is specified"
    elif parse_quantity(limits[name]) > parse_quantity(bound):
        yield f"{start}, but limit is {canonicalize(limits[name])}"
    elif name in requests and parse_quantity(requests[name]) > parse_quantity(bound):
        yield f"{start}, but request is {canonicalize(requests[name])}"


def _out_of_ratio(
    kind: str, name: str, bound: str, requests: Quantities, limits: Quantities
) -> Iterator[str]:
    start = f"{name} max limit to request ratio per {kind} is {canonicalize(bound)}"
    requested = parse_quantity(requests.get(name, "0"))
    limited = parse_quantity(limits.get(name, "0"))
    if not requested:
        yield f"{start}, but no request is specified or request is 0"
    elif not limited:
        yield f"{start}, but no limit is specified or limit is 0"
    elif limited / requested > parse_quantity(bound):
        yield f"{start}, but provided ratio is {float(limited / requested):f}"
