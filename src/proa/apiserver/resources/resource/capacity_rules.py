"""Say what is wrong with how much of a device's capacity may be asked for (pkg/apis/resource/validation)."""

from __future__ import annotations

from proa.apiserver.resources.resource.shapes import validate_set
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.validation import forbidden, invalid, required

MAX_OPTIONS = 10
ONE_POLICY = (
    'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
)
NOT_VALID = "default value is not valid according to the requestPolicy"


def validate_capacity(capacity: Object, path: str, *, is_shared: bool) -> list[Cause]:
    """Check the policy of a capacity; only devices that several claims may share have one."""
    policy, path = capacity.get("requestPolicy"), f"{path}.requestPolicy"
    if policy is None:
        return []
    if not is_shared:
        return [forbidden(path, "allowMultipleAllocations must be true")]
    values, allowed = policy.get("validValues") or [], policy.get("validRange")
    if values and allowed is not None:
        return [forbidden(path, ONE_POLICY)]
    kind = "validValues" if values else "validRange"
    if not values and allowed is None:
        return []
    default = policy.get("default")
    if default is None:
        return [required(f"{path}.default", f"required when {kind} is defined")]
    most = capacity.get("value", "0")
    if values:
        return _validate_values(values, default, most, f"{path}.validValues")
    return _validate_range(allowed or {}, default, most, f"{path}.validRange")


def _validate_values(values: list[str], default: str, most: str, field: str) -> list[Cause]:
    amounts = [parse_quantity(value) for value in values]
    causes = [
        invalid(f"{field}[{index}]", canonicalize(values[index]), "values must be sorted in ascending order")
        for index in range(1, len(values))
        if amounts[index - 1] > amounts[index]
    ]

    def check(value: str, path: str) -> list[Cause]:
        if parse_quantity(value) <= parse_quantity(most):
            return []
        why = f"option is larger than capacity value: {canonicalize(most)}"
        return [invalid(path, canonicalize(value), why)]

    causes += validate_set(values, MAX_OPTIONS, check, lambda value: str(int(parse_quantity(value))), field)
    if parse_quantity(default) not in amounts:
        causes.append(invalid(field, canonicalize(default), NOT_VALID))
    return causes


def _validate_range(allowed: Object, default: str, most: str, path: str) -> list[Cause]:
    least, highest = allowed.get("min"), allowed.get("max")
    if least is None:
        return [required(f"{path}.min", "required when validRange is defined")]
    causes = _above(least, most, f"{path}.min", "min is larger than capacity value")
    if parse_quantity(default) < parse_quantity(least):
        why = f"default is less than min: {canonicalize(least)}"
        causes.append(invalid(f"{path}.default", canonicalize(default), why))
    if highest is not None:
        causes += _above(least, highest, f"{path}.max", "min is larger than max")
        causes += _above(highest, most, f"{path}.max", "max is larger than capacity value")
        causes += _above(default, highest, f"{path}.default", "default is more than max")
    return causes + _validate_step(allowed, default, most, f"{path}.step")


def _above(value: str, bound: str, field: str, why: str) -> list[Cause]:
    if parse_quantity(value) <= parse_quantity(bound):
        return []
    return [invalid(field, canonicalize(value), f"{why}: {canonicalize(bound)}")]


def _validate_step(allowed: Object, default: str, most: str, field: str) -> list[Cause]:
    step, least, highest = allowed.get("step"), allowed["min"], allowed.get("max")
    if step is None:
        return []
    size, first = parse_quantity(step), parse_quantity(least)
    if size <= 0:
        return [invalid(field, canonicalize(step), "must be greater than zero")]
    causes: list[Cause] = []
    if first + size > parse_quantity(most):
        why = f"one step {first + size} is larger than capacity value: {canonicalize(most)}"
        causes.append(invalid(field, canonicalize(step), why))
    for value in (default, highest):
        if value is not None and (parse_quantity(value) - first) % size:
            why = (
                f"value is not a multiple of a given step ({canonicalize(step)}) from ({canonicalize(least)})"
            )
            causes.append(invalid(field, canonicalize(value), why))
    return causes
