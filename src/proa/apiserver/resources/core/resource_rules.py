"""Say what is wrong with requests and limits (pkg/apis/core/validation ValidateResourceRequirements)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from decimal import Decimal

from proa.apiserver.resources.core.claim_reference_rules import validate_claim_names
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.pods import POD_LEVEL_RESOURCES, total_resources
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.validation import (
    all_invalid,
    forbidden,
    invalid,
    not_supported,
    qualified_name,
    required,
)

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


def validate_resources(resources: Object, field: str, claims: Collection[str] = ()) -> list[Cause]:
    """Check names and amounts, that no request is over its limit, and claims against those of the pod."""
    return _validate_requirements(resources, field, validate_container_resource_name, claims)


def validate_pod_level_resources(spec: Object, field: str) -> list[Cause]:
    """Check spec.resources, also against what the containers ask for (KEP-2837)."""
    resources = spec.get("resources") or {}
    causes: list[Cause] = []
    if resources.get("claims"):
        causes.append(forbidden(f"{field}.claims", "claims cannot be set for Resources at pod-level"))
    causes += _validate_requirements(resources, field, _validate_pod_resource_name, ())
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name, amount in total_resources({**spec, "resources": {}}, "requests").items():
        given = requests.get(name, "0")
        if not _is_for_pods(name):
            continue
        if parse_quantity(amount) > parse_quantity(given):
            bound = f"must be greater than or equal to aggregate container requests of {canonicalize(amount)}"
            causes.append(invalid(f"{field}.requests[{name}]", canonicalize(given), bound))
    for index, container in enumerate(spec.get("containers") or ()):
        for name, amount in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in limits and parse_quantity(amount) > parse_quantity(limits[name]):
                path = f"{field}.containers[{index}][{name}].limits"
                detail = f"must be less than or equal to pod limits of {canonicalize(limits[name])}"
                causes.append(invalid(path, canonicalize(amount), detail))
    return causes


def _is_for_pods(name: str) -> bool:
    return name in POD_LEVEL_RESOURCES or name.startswith(HUGE_PAGES)


def _validate_pod_resource_name(name: str, field: str) -> list[Cause]:
    causes = validate_resource_name(name, field)
    if causes or _is_for_pods(name):
        return causes
    return [not_supported(field, name, sorted((*POD_LEVEL_RESOURCES, HUGE_PAGES)))]


def _validate_requirements(
    resources: Object, field: str, check_name: Callable[[str, str], list[Cause]], claims: Collection[str]
) -> list[Cause]:
    causes: list[Cause] = []
    if not resources:
        return causes
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, amount in limits.items():
        path = f"{field}.limits[{name}]"
        causes += check_name(name, path) + validate_amount(name, amount, path)
        causes += _validate_huge_pages(name, amount, path)
    for name, amount in requests.items():
        path = f"{field}.requests[{name}]"
        causes += check_name(name, path) + validate_amount(name, amount, path)
        causes += _validate_against_limit(name, amount, limits.get(name), field)
        causes += _validate_huge_pages(name, amount, path)
    names = limits.keys() | requests.keys()
    if any(name.startswith(HUGE_PAGES) for name in names) and not names & {"cpu", "memory"}:
        causes.append(forbidden(field, "HugePages require cpu or memory"))
    if resources.get("claims"):
        causes += validate_claim_names(resources["claims"], claims, f"{field}.claims")
    return causes


def _validate_huge_pages(name: str, amount: str, path: str) -> list[Cause]:
    """Check that there is a whole number of pages."""
    if not name.startswith(HUGE_PAGES):
        return []
    try:
        page = parse_quantity(name.removeprefix(HUGE_PAGES))
    except ValueError:
        page = Decimal(0)
    if page > 0 and parse_quantity(amount) % page == 0:
        return []
    shown = canonicalize(amount)
    return [invalid(path, shown, f"{shown} is not positive integer multiple of {name}")]


def _validate_against_limit(name: str, amount: str, limit: str | None, field: str) -> list[Cause]:
    if limit is None:
        if is_overcommitable(name):
            return []
        return [required(f"{field}.limits", "Limit must be set for non overcommitable resources")]
    wanted, most = parse_quantity(amount), parse_quantity(limit)
    shown, bound = canonicalize(amount), canonicalize(limit)
    if not is_overcommitable(name) and wanted != most:
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
