"""A pod of a RuntimeClass has the class's overhead, and goes where the class says; an unknown class is refused.

Follows plugin/pkg/admission/runtimeclass/admission.go and pkg/util/tolerations/tolerations.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import forbidden
from proa.client.protocol import Object
from proa.objects.errors import Forbidden
from proa.objects.quantity import parse_quantity
from proa.objects.resource import PODS, RUNTIME_CLASSES

NOT_THE_SAME = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
NOT_DEFINED = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"


def admit(attributes: Attributes) -> None:
    """Merge the class's overhead, node selector and tolerations into a new pod; raise Forbidden."""
    pod = attributes.obj
    if attributes.operation != "CREATE" or attributes.subresource or pod is None:
        return
    spec = pod.get("spec") or {}
    runtime_class = _find_class(attributes, spec)
    if runtime_class is None:
        return
    overhead = (runtime_class.get("overhead") or {}).get("podFixed")
    if overhead is not None:
        if spec.get("overhead") and not _is_same(spec["overhead"], overhead):
            raise _refusal(attributes, NOT_THE_SAME)
        spec["overhead"] = overhead
    scheduling = runtime_class.get("scheduling")
    if scheduling is not None:
        _merge_scheduling(attributes, spec, scheduling)


def validate(attributes: Attributes) -> None:
    """Check that a new pod's overhead is the one of its class; raise Forbidden."""
    pod = attributes.obj
    if attributes.operation != "CREATE" or attributes.subresource or pod is None:
        return
    spec = pod.get("spec") or {}
    runtime_class = _find_class(attributes, spec)
    overhead = ((runtime_class or {}).get("overhead") or {}).get("podFixed")
    given = spec.get("overhead")
    if overhead is None and given:
        raise _refusal(attributes, NOT_DEFINED)
    if overhead is not None and not _is_same(given or {}, overhead):
        raise _refusal(attributes, NOT_THE_SAME)


def _find_class(attributes: Attributes, spec: Object) -> Object | None:
    """Return the pod's class, None where it names none; raise Forbidden where there is no such class."""
    name = spec.get("runtimeClassName")
    if name is None:
        return None
    registry = attributes.catalog.of(RUNTIME_CLASSES) if attributes.catalog.has(RUNTIME_CLASSES) else None
    found = registry.find("", name) if registry is not None else None
    if found is None:
        raise _refusal(attributes, f'pod rejected: RuntimeClass "{name}" not found')
    return found


def _refusal(attributes: Attributes, why: str) -> Forbidden:
    return forbidden(PODS, attributes.name, why)


def _is_same(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return given.keys() == wanted.keys() and all(
        parse_quantity(given[name]) == parse_quantity(wanted[name]) for name in wanted
    )


def _merge_scheduling(attributes: Attributes, spec: Object, scheduling: Object) -> None:
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.setdefault(key, value) != value:
            why = (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}"
            )
            raise _refusal(attributes, why)
    if selector:
        spec["nodeSelector"] = selector
    tolerations = merge_tolerations(spec.get("tolerations") or [], scheduling.get("tolerations") or [])
    if tolerations:
        spec["tolerations"] = tolerations


def merge_tolerations(first: list[Object], second: list[Object]) -> list[Object]:
    """Return both lists as one, without those that another one makes needless."""
    every = first + second
    merged: list[Object] = []
    for index, toleration in enumerate(every):
        later = (other for other in every[index + 1 :] if other != toleration)
        if any(_covers(other, toleration) for other in (*merged, *later)):
            continue
        merged.append(toleration)
    return merged


def _covers(other: Object, toleration: Object) -> bool:
    """Tell whether `other` tolerates all that `toleration` does."""
    if other == toleration:
        return True
    key, effect = other.get("key", ""), other.get("effect", "")
    is_exists = other.get("operator") == "Exists"
    if toleration.get("key", "") != key and (key or not is_exists):
        return False
    if effect not in ("", toleration.get("effect", "")):
        return False
    if effect == "NoExecute" and (most := other.get("tolerationSeconds")) is not None:
        seconds = toleration.get("tolerationSeconds")
        if seconds is None or seconds > most:
            return False
    if is_exists:
        return True
    is_equal = other.get("operator", "Equal") in ("", "Equal")
    same_operator = toleration.get("operator", "Equal") in ("", "Equal")
    return is_equal and same_operator and other.get("value", "") == toleration.get("value", "")
