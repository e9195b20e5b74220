"""A pod's cpu and memory may change while it runs; its QoS class, and whether there are requests and limits, may not.

Serves the subresource `resize`; follows pkg/registry/core/pod/strategy.go (dropNonResizeUpdates) and
pkg/apis/core/validation ValidatePodResize. What the kubelet makes of it is in the pod's conditions.
"""

from __future__ import annotations

from typing import Any

from proa.apiserver.resources.core.ephemeral_rules import MIRROR_ANNOTATION, keep_pod
from proa.apiserver.resources.core.qos import qos_class
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import forbidden, invalid

MUTABLE = ("cpu", "memory")
LISTS = ("containers", "initContainers")
ONLY = "only cpu and memory resources are mutable"


def prepare_resize(new: Object, old: Object) -> None:
    """Keep everything but resources and resize policies, which go to the containers of their names."""
    wanted = new.get("spec") or {}
    order = {key: [c.get("name", "") for c in wanted.get(key) or ()] for key in LISTS}
    keep_pod(new, old)
    for key in LISTS:
        named = {c.get("name", ""): c for c in wanted.get(key) or ()}
        had = [c.get("name", "") for c in old["spec"].get(key) or ()]
        if key in wanted and order[key] != had:  # which validation refuses
            new["spec"][key] = wanted[key]
        elif key in new["spec"]:
            new["spec"][key] = [_take(c, named.get(c.get("name", ""), {})) for c in new["spec"][key]]
    if "resources" in wanted:
        new["spec"]["resources"] = wanted["resources"]
    else:
        new["spec"].pop("resources", None)


def _take(container: Object, wanted: Object) -> Object:
    kept = {k: v for k, v in container.items() if k not in ("resources", "resizePolicy")}
    taken: Object = {key: wanted[key] for key in ("resources", "resizePolicy") if key in wanted}
    return {**kept, "resources": {}, **taken}


def validate_resize(new: Object, old: Object) -> list[Cause]:
    """Check what is changed, and that node and class allow it."""
    if MIRROR_ANNOTATION in (old["metadata"].get("annotations") or {}):
        return [forbidden("[]", "static pods cannot be resized")]
    if (old["spec"].get("os") or {}).get("name") == "windows":
        return [forbidden("[]", "windows pods cannot be resized")]
    causes: list[Cause] = []
    had = (old.get("status") or {}).get("qosClass") or qos_class(old)
    if had != qos_class(new):
        causes.append(invalid("spec", had, "Pod QOS Class may not change as a result of resizing"))
    if not _node_can(old):
        causes.append(forbidden("spec", "Pod running on node without support for resize"))
    causes += _validate_pod_level(new["spec"], old["spec"])
    if moved := _validate_order(new["spec"], old["spec"]):
        return causes + moved
    for key in reversed(LISTS):
        pairs = zip(new["spec"].get(key) or (), old["spec"].get(key) or (), strict=True)
        for index, (mine, theirs) in enumerate(pairs):
            causes += _validate_container(mine, theirs, f"spec.{key}[{index}]")
    for key in LISTS:
        pairs = zip(new["spec"].get(key) or (), old["spec"].get(key) or (), strict=True)
        for index, (mine, theirs) in enumerate(pairs):
            path = "spec" if key == "containers" else f"spec.{key}[{index}]"
            causes += _validate_others(mine, theirs, path, is_init=key == "initContainers")
    return causes


def _node_can(pod: Object) -> bool:
    """A node that can resize says in the status what running containers have."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if "running" in (status.get("state") or {}):
            return status.get("resources") is not None
    return True


def _validate_pod_level(mine: Object, theirs: Object) -> list[Cause]:
    had, have = theirs.get("resources"), mine.get("resources")
    if not had and not have:
        return []
    if had is not None and have is None:
        return [forbidden("spec.resources", "pod-level resources cannot be removed")]
    causes = _validate_removals(have, had, "spec.resources", "pod-level resource")
    if _fixed(have, had) != _clean(had):
        causes.append(forbidden("spec", f"{ONLY} at pod-level"))
    return causes


def _validate_order(mine: Object, theirs: Object) -> list[Cause]:
    causes: list[Cause] = []
    for key in LISTS:
        now, before = ([c.get("name", "") for c in spec.get(key) or ()] for spec in (mine, theirs))
        if len(now) != len(before):
            causes.append(forbidden(f"spec.{key}", f"{key} may not be added or removed on resize"))
            continue
        detail = f"{key} may not be renamed or reordered on resize"
        pairs = enumerate(zip(now, before, strict=True))
        causes += [forbidden(f"spec.{key}[{i}].name", detail) for i, (a, b) in pairs if a != b]
    return causes


def _validate_container(mine: Object, theirs: Object, path: str) -> list[Cause]:
    return _validate_removals(mine.get("resources"), theirs.get("resources"), f"{path}.resources", "resource")


def _validate_removals(have: Any, had: Any, path: str, what: str) -> list[Cause]:
    return [
        forbidden(f"{path}.{key}", f"{what} {key} cannot be removed")
        for key in ("requests", "limits")
        if ((had or {}).get(key) or {}).keys() - ((have or {}).get(key) or {}).keys()
    ]


def _validate_others(mine: Object, theirs: Object, path: str, *, is_init: bool) -> list[Cause]:
    fixed = {**mine, "resources": _fixed(mine.get("resources"), theirs.get("resources"))}
    causes: list[Cause] = []
    if fixed != {**theirs, "resources": _clean(theirs.get("resources"))}:
        detail = "only cpu and memory resources for init or sidecar containers are mutable"
        causes.append(forbidden(path, detail if is_init else ONLY))
    restarts = any(p.get("restartPolicy") == "RestartContainer" for p in mine.get("resizePolicy") or ())
    if is_init and mine != theirs and mine.get("restartPolicy") != "Always" and restarts:
        detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
        causes.append(forbidden(path, detail))
    return causes


def _fixed(have: Any, had: Any) -> Object:
    """Return resources with the cpu and memory that there were."""
    result = {key: value for key, value in (have or {}).items() if key not in ("requests", "limits")}
    for key in ("requests", "limits"):
        now, before = ((resources or {}).get(key) or {} for resources in (have, had))
        result[key] = {name: amount for name, amount in now.items() if name not in MUTABLE}
        result[key].update({name: before[name] for name in MUTABLE if name in before})
    return _clean(result)


def _clean(resources: Any) -> Object:
    return {key: value for key, value in (resources or {}).items() if value}
