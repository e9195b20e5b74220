"""Say what is wrong with probes and lifecycle handlers (pkg/apis/core/validation validateHandler, validateProbe)."""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import (
    all_invalid,
    forbidden,
    header_name,
    invalid,
    port_name,
    port_number,
    required,
    validate_enum,
    validate_non_negative,
)

NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def validate_probe(probe: Object | None, field: str) -> list[Cause]:
    """Check one probe; `field` ends with its name, on which some rules depend."""
    if probe is None:
        return []
    is_readiness = field.endswith("readinessProbe")
    causes = validate_handler(probe, field)
    for key in NUMBERS:
        causes += validate_non_negative(probe.get(key, 0), f"{field}.{key}")
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None:
        path = f"{field}.terminationGracePeriodSeconds"
        if grace <= 0:
            causes.append(invalid(path, grace, "must be greater than 0"))
        if is_readiness:
            causes.append(invalid(path, grace, "must not be set for readinessProbes"))
    if not is_readiness and probe.get("successThreshold", 1) != 1:
        causes.append(invalid(f"{field}.successThreshold", probe["successThreshold"], "must be 1"))
    return causes


def validate_handler(handler: Object, field: str, grace: int | None = None) -> list[Cause]:
    """Check that there is exactly one handler, and it; a hook may sleep for as long as the pod's grace period."""
    given = [k for k in ("exec", "httpGet", "tcpSocket", "grpc", "sleep") if k in handler]
    if not given:
        return [required(field, "must specify a handler type")]
    causes = _validate_first(handler, given[0], field, grace)
    for extra in given[1:]:
        causes.append(forbidden(f"{field}.{extra}", "may not specify more than 1 handler type"))
    return causes


def _validate_first(handler: Object, kind: str, field: str, grace: int | None) -> list[Cause]:
    causes: list[Cause] = []
    path = f"{field}.{kind}"
    action: Object = handler[kind]
    if kind == "exec":
        causes += [] if action.get("command") else [required(f"{path}.command")]
    elif kind == "httpGet":
        causes += _validate_http_get(action, path)
    elif kind == "sleep":
        seconds = action.get("seconds", 0)
        if grace is not None and not 0 <= seconds <= grace:
            detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            causes.append(invalid(path, seconds, detail))
    elif kind == "grpc":
        causes += all_invalid(f"{path}.port", action.get("port", 0), port_number(action.get("port", 0)))
    else:
        causes += validate_port(action.get("port", 0), f"{path}.port")
    return causes


def validate_port(port: int | str, field: str) -> list[Cause]:
    """Check a port given as a number or a name."""
    return all_invalid(field, port, port_number(port) if isinstance(port, int) else port_name(port))


def _validate_http_get(action: Object, path: str) -> list[Cause]:
    causes = [] if action.get("path") else [required(f"{path}.path")]
    causes += validate_port(action.get("port", 0), f"{path}.port")
    causes += validate_enum(action.get("scheme"), f"{path}.scheme", ("HTTP", "HTTPS"))
    for header in action.get("httpHeaders", ()):
        name = header.get("name", "")
        causes += all_invalid(f"{path}.httpHeaders", name, header_name(name))
    return causes
