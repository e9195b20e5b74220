"""Say what is wrong with requests and limits (pkg/apis/core/validation ValidateResourceRequirements)."""

from __future__ import annotations

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.validation import all_invalid, invalid, qualified_name, required

STANDARD = ("cpu", "memory", "ephemeral-storage")
KNOWN = (
    *STANDARD, "storage", "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
    "persistentvolumeclaims", "services.loadbalancers", "services.nodeports", "requests.cpu", "requests.memory",
    "requests.ephemeral-storage", "requests.storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
)  # fmt: skip
COUNTED = frozenset((
    "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
))  # fmt: skip
"""Resources of which there are only whole ones."""
HUGE_PAGES = "hugepages-"
NATIVE_DOMAIN = "kubernetes.io/"


def validate_resources(resources: Object, field: str) -> list[Cause]:
    """Check names and amounts, and that no request is over its limit."""
    causes: list[Cause] = []
    if not resources:
        return causes
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, amount in limits.items():
        path = f"{field}.limits[{name}]"
        causes += validate_container_resource_name(name, path) + validate_amount(name, amount, path)
    for name, amount in requests.items():
        path = f"{field}.requests[{name}]"
        causes += validate_container_resource_name(name, path) + validate_amount(name, amount, path)
        causes += _validate_against_limit(name, amount, limits.get(name), field)
    return causes


def _validate_against_limit(name: str, amount: str, limit: str | None, field: str) -> list[Cause]:
    is_overcommitable = name in STANDARD
    if limit is None:
        if is_overcommitable:
            return []
        return [required(f"{field}.limits", "Limit must be set for non overcommitable resources")]
    wanted, most = parse_quantity(amount), parse_quantity(limit)
    shown, bound = canonicalize(amount), canonicalize(limit)
    if not is_overcommitable and wanted != most:
        return [invalid(f"{field}.requests", shown, f"must be equal to {name} limit of {bound}")]
    if wanted > most:
        return [invalid(f"{field}.requests", shown, f"must be less than or equal to {name} limit of {bound}")]
    return []


def validate_container_resource_name(name: str, field: str) -> list[Cause]:
    """Check that a container can ask for a resource of that name."""
    causes = validate_resource_name(name, field)
    if "/" not in name:
        if name not in STANDARD and not name.startswith(HUGE_PAGES):
            causes.append(invalid(field, name, "must be a standard resource for containers"))
    elif NATIVE_DOMAIN not in name and name.startswith("requests."):
        causes.append(invalid(field, name, "doesn't follow extended resource name standard"))
    return causes


def validate_resource_name(name: str, field: str) -> list[Cause]:
    """Check the form of a resource's name."""
    causes = all_invalid(field, name, qualified_name(name))
    if not causes and "/" not in name and name != "storage" and not is_quota_resource(name):
        causes.append(invalid(field, name, "must be a standard resource type or fully qualified"))
    return causes


def validate_quota_resource_name(name: str, field: str) -> list[Cause]:
    """Check that a quota can count a resource of that name."""
    causes = validate_resource_name(name, field)
    if "/" not in name and not is_quota_resource(name):
        causes.append(invalid(field, name, "must be a standard resource for quota"))
    return causes


def is_quota_resource(name: str) -> bool:
    """Tell whether a name without a domain is one of those that a quota counts (IsStandardQuotaResourceName)."""
    if name.startswith((HUGE_PAGES, f"requests.{HUGE_PAGES}")):
        return True
    return name in KNOWN and name != "storage"


def is_overcommitable(name: str) -> bool:
    """Tell whether a limit may be over the request (IsOvercommitAllowed)."""
    return not name.startswith(HUGE_PAGES) and ("/" not in name or NATIVE_DOMAIN in name)


def is_whole(name: str) -> bool:
    """Tell whether a resource has only whole amounts: objects, and what has a domain of its own."""
    if name in COUNTED:
        return True
    return "/" in name and NATIVE_DOMAIN not in name and not name.startswith("requests.")


def validate_amount(name: str, amount: str, field: str) -> list[Cause]:
    """Check that an amount is not negative, and whole where only whole ones exist."""
    value = parse_quantity(amount)
    causes = []
    if value < 0:
        causes.append(invalid(field, canonicalize(amount), "must be greater than or equal to 0"))
    if is_whole(name) and value != value.to_integral_value():
        causes.append(invalid(field, canonicalize(amount), "must be an integer"))
    return causes
