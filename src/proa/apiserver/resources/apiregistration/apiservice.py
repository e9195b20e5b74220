"""An APIService says who serves a group version: this server, or one behind a Service.

Follows kube-aggregator/pkg/apis/apiregistration/validation and pkg/registry/apiservice.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from proa.apiserver.registry.definition import Column, ResourceDefinition, Subresource
from proa.apiserver.resources.printing import AGE, NAME, age
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.resource import API_SERVICES
from proa.objects.validation import (
    all_invalid,
    dns1035_label,
    dns_subdomain,
    invalid,
    not_supported,
    port_number,
    quote,
    required,
)

MAX_GROUP_PRIORITY = 20000
MAX_VERSION_PRIORITY = 1000
STATUSES = ("True", "False", "Unknown")
LOCAL = {
    "type": "Available",
    "status": "True",
    "reason": "Local",
    "message": "Local APIServices are always available",
}


def default(api_service: Object) -> None:
    """A service is asked at 443."""
    service = (api_service.get("spec") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)


def prepare_create(api_service: Object) -> None:
    """What this server serves is available from the start."""
    if (api_service.get("spec") or {}).get("service") is None:
        since = api_service["metadata"].get("creationTimestamp")
        api_service["status"] = {"conditions": [{"lastTransitionTime": since, **LOCAL}]}
    else:
        api_service["status"] = {}


def validate(api_service: Object) -> list[Cause]:
    """Check the group version, by which it must be named, the priorities, and the service."""
    spec = api_service.get("spec") or {}
    group, version = spec.get("group") or "", spec.get("version") or ""
    name, wanted = api_service["metadata"].get("name") or "", f"{version}.{group}"
    causes = []
    if name != wanted:
        why = f'must be `spec.version+"."+spec.group`: {quote(wanted)}'
        causes.append(invalid("metadata.name", name, why))
    if not group and version != "v1":
        why = "only v1 may have an empty group and it better be legacy kube"
        causes.append(required("spec.group", why))
    if group:
        causes += all_invalid("spec.group", group, dns_subdomain(group))
    causes += all_invalid("spec.version", version, dns1035_label(version))
    causes += _validate_priority(spec, "groupPriorityMinimum", MAX_GROUP_PRIORITY)
    causes += _validate_priority(spec, "versionPriority", MAX_VERSION_PRIORITY)
    return causes + _validate_service(spec)


def _validate_priority(spec: Object, key: str, most: int) -> list[Cause]:
    value = spec.get(key) or 0
    if 0 < value <= most:
        return []
    return [invalid(f"spec.{key}", value, f"must be positive and less than {most}")]


def _validate_service(spec: Object) -> list[Cause]:
    service, bundle, insecure = (
        spec.get("service"),
        spec.get("caBundle"),
        spec.get("insecureSkipTLSVerify"),
    )
    causes = []
    if service is None:
        if bundle:
            shown = f"{len(base64.b64decode(bundle))} bytes"
            causes.append(invalid("spec.caBundle", shown, "local APIServices may not have a caBundle"))
        if insecure:
            why = "local APIServices may not have insecureSkipTLSVerify"
            causes.append(invalid("spec.insecureSkipTLSVerify", True, why))
        return causes
    causes += [required(f"spec.service.{key}") for key in ("namespace", "name") if not service.get(key)]
    port = service.get("port") or 0
    if problems := port_number(port):
        causes.append(invalid("spec.service.port", port, "port is not valid: " + ", ".join(problems)))
    if insecure and bundle:
        causes.append(invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present"))
    return causes


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check what conditions say."""
    return [
        not_supported(f"status.conditions[{index}].status", condition.get("status") or "", sorted(STATUSES))
        for index, condition in enumerate((new.get("status") or {}).get("conditions") or ())
        if condition.get("status") not in STATUSES
    ]


def available(api_service: Object) -> Object:
    """Return the condition Available, {} where there is none."""
    conditions: list[Object] = (api_service.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c.get("type") == "Available"), {})


def cells(api_service: Object, now: float) -> Sequence[Any]:
    """Return the row of `kubectl get`."""
    service = (api_service.get("spec") or {}).get("service")
    where = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
    condition = available(api_service)
    status = condition.get("status") or "Unknown"
    if status != "True" and condition.get("reason"):
        status = f"{status} ({condition['reason']})"
    return api_service["metadata"]["name"], where, status, age(api_service, now)


DEFINITION = ResourceDefinition(
    resource=API_SERVICES,
    singular="apiservice",
    schema="io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
    categories=("api-extensions",),
    subresources=(Subresource("status", "APIService", ("get", "patch", "update")),),
    default=default,
    prepare_create=prepare_create,
    validate=validate,
    validate_status_update=validate_status_update,
    columns=(
        NAME,
        Column("Service", description="The reference to the service that hosts this API endpoint."),
        Column("Available", description="Whether this service is available."),
        AGE,
    ),
    cells=cells,
    name_rule="path-segment",
    unconditional_update=False,
)
