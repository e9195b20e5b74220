"""Default and check what a claim asks for: requests, constraints, configuration.

Follows pkg/apis/resource/v1/defaults.go and pkg/apis/resource/validation validateDeviceClaim. CEL expressions are
checked for their length, not compiled.
"""

from __future__ import annotations

from proa.apiserver.resources.core.driver_names import validate_driver_name
from proa.apiserver.resources.resource.names import (
    RequestNames,
    request_names,
    validate_fully_qualified,
    validate_key,
    validate_label_name,
    validate_request_reference,
)
from proa.apiserver.resources.resource.shapes import validate_list, validate_parameters, validate_set
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    dns_subdomain,
    invalid,
    label_value,
    not_supported,
    required,
    too_long,
)

MAX_REQUESTS, MAX_CONSTRAINTS, MAX_CONFIGS = 32, 32, 32
MAX_SELECTORS, MAX_ALTERNATIVES, MAX_TOLERATIONS = 32, 8, 16
MAX_EXPRESSION, MAX_PARAMETERS = 10 * 1024, 10 * 1024
MODES = ("All", "ExactCount")
EFFECTS = ("NoExecute", "NoSchedule", "None")
ONE_REQUEST = "exactly one of `exactly` or `firstAvailable` is required"
ONE_ATTRIBUTE = (
    'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
)


def default_claim(spec: Object) -> None:
    """Ask for one device, unless it is said how many; tolerations name values."""
    for request in spec.setdefault("devices", {}).get("requests") or ():
        for asked in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if asked is None:
                continue
            mode = asked["allocationMode"] = asked.get("allocationMode") or "ExactCount"
            if mode == "ExactCount" and not asked.get("count"):
                asked["count"] = 1
            for toleration in asked.get("tolerations") or ():
                toleration["operator"] = toleration.get("operator") or "Equal"


def validate_claim_spec(spec: Object, path: str) -> list[Cause]:
    """Check spec.devices of a claim or of a template."""
    devices, path = spec.get("devices") or {}, f"{path}.devices"
    names = request_names(devices)
    return [
        *validate_set(
            devices.get("requests") or (),
            MAX_REQUESTS,
            _validate_request,
            lambda request: request.get("name", ""),
            f"{path}.requests",
        ),
        *validate_list(
            devices.get("constraints") or (),
            MAX_CONSTRAINTS,
            lambda constraint, field: _validate_constraint(constraint, names, field),
            f"{path}.constraints",
        ),
        *validate_list(
            devices.get("config") or (),
            MAX_CONFIGS,
            lambda config, field: validate_request_config(config, names, field),
            f"{path}.config",
        ),
    ]


def _validate_request(request: Object, path: str) -> list[Cause]:
    causes = validate_label_name(request.get("name", ""), f"{path}.name")
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or []
    if exactly is None and not alternatives:
        return [*causes, required(path, ONE_REQUEST)]
    if exactly is not None and alternatives:
        return [*causes, invalid(path, None, f"{ONE_REQUEST}, but multiple fields are set")]
    if exactly is not None:
        return causes + _validate_asked(exactly, f"{path}.exactly")
    return causes + validate_set(
        alternatives,
        MAX_ALTERNATIVES,
        _validate_alternative,
        lambda alternative: alternative.get("name", ""),
        f"{path}.firstAvailable",
    )


def _validate_alternative(alternative: Object, path: str) -> list[Cause]:
    causes = validate_label_name(alternative.get("name", ""), f"{path}.name")
    return causes + _validate_asked(alternative, path)


def _validate_asked(asked: Object, path: str) -> list[Cause]:
    name = asked.get("deviceClassName", "")
    field = f"{path}.deviceClassName"
    causes = all_invalid(field, name, dns_subdomain(name)) if name else [required(field)]
    causes += validate_selectors(asked.get("selectors") or [], f"{path}.selectors")
    causes += _validate_count(asked, path)
    return causes + validate_list(
        asked.get("tolerations") or (), MAX_TOLERATIONS, validate_toleration, f"{path}.tolerations"
    )


def _validate_count(asked: Object, path: str) -> list[Cause]:
    mode, count = asked.get("allocationMode", ""), asked.get("count", 0)
    if mode == "All":
        why = "must not be specified when allocationMode is 'All'"
        return [invalid(f"{path}.count", count, why)] if count else []
    if mode == "ExactCount":
        return [] if count > 0 else [invalid(f"{path}.count", count, "must be greater than zero")]
    return [not_supported(f"{path}.allocationMode", mode, MODES)]


def validate_selectors(selectors: list[Object], field: str) -> list[Cause]:
    """Check that each selector has an expression."""
    return validate_list(selectors, MAX_SELECTORS, _validate_selector, field)


def _validate_selector(selector: Object, path: str) -> list[Cause]:
    cel = selector.get("cel")
    if cel is None:
        return [required(f"{path}.cel")]
    is_long = len(cel.get("expression", "").encode()) > MAX_EXPRESSION
    return [too_long(f"{path}.cel.expression", MAX_EXPRESSION)] if is_long else []


def validate_toleration(toleration: Object, path: str) -> list[Cause]:
    """Check what taints of devices are put up with."""
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    value, effect = toleration.get("value", ""), toleration.get("effect", "")
    causes = validate_key(key, f"{path}.key") if key else []
    if operator == "Exists":
        causes += [invalid(f"{path}.value", value, "must be empty for operator `Exists`")] if value else []
    elif operator == "Equal":
        causes += all_invalid(f"{path}.value", value, label_value(value))
    elif operator:
        causes.append(not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    else:
        causes.append(required(f"{path}.operator"))
    if effect and effect not in EFFECTS:
        causes.append(not_supported(f"{path}.effect", effect, EFFECTS))
    return causes


def _validate_constraint(constraint: Object, names: RequestNames, path: str) -> list[Cause]:
    causes = _validate_references(constraint, names, path)
    for key in ("matchAttribute", "distinctAttribute"):
        if constraint.get(key) is not None:
            return causes + validate_fully_qualified(constraint[key], f"{path}.{key}")
    return [*causes, required(path, ONE_ATTRIBUTE)]


def validate_request_config(config: Object, names: RequestNames, path: str) -> list[Cause]:
    """Check configuration that is for some requests."""
    return _validate_references(config, names, path) + validate_config(config, path)


def _validate_references(obj: Object, names: RequestNames, path: str) -> list[Cause]:
    return validate_set(
        obj.get("requests") or (),
        MAX_REQUESTS,
        lambda name, field: validate_request_reference(name, names, field),
        lambda name: name,
        f"{path}.requests",
    )


def validate_config(config: Object, path: str) -> list[Cause]:
    """Check configuration for a driver."""
    opaque = config.get("opaque")
    if opaque is None:
        return [required(f"{path}.opaque")]
    causes = validate_driver_name(opaque.get("driver", ""), f"{path}.opaque.driver")
    parameters = opaque.get("parameters")
    return causes + validate_parameters(parameters, f"{path}.opaque.parameters", MAX_PARAMETERS)
