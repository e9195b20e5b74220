"""Say what is wrong with a PersistentVolumeClaim, and which changes of it are not allowed.

Follows pkg/apis/core/validation ValidatePersistentVolumeClaimSpec, ValidatePersistentVolumeClaimUpdate and
ValidatePersistentVolumeClaimStatusUpdate.
"""

from __future__ import annotations

from decimal import Decimal

from proa.apiserver.resources.core.differences import show_difference
from proa.apiserver.resources.core.volume_words import VOLUME_MODES, validate_access_modes
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.validation import (
    Verbatim,
    all_invalid,
    dns_label,
    dns_subdomain,
    forbidden,
    invalid,
    not_supported,
    qualified_name,
    required,
    validate_enum,
    validate_immutable,
)
from proa.objects.validation_selectors import validate_label_selector

CHANGES = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
ATTRIBUTES_CLASS = "volumeAttributesClassName"
RESIZE_STATUSES = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
    "NodeResizePending",
)  # fmt: skip


def validate(claim: Object) -> list[Cause]:
    """Check modes, size, class, source and selector."""
    return validate_claim_spec(claim["spec"], "spec")


def validate_claim_spec(spec: Object, field: str) -> list[Cause]:
    """Check what claims and claim templates have in common."""
    missing = "at least 1 access mode is required"
    causes = validate_access_modes(spec.get("accessModes", []), f"{field}.accessModes", missing)
    causes += validate_label_selector(spec.get("selector"), f"{field}.selector")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        causes.append(required(f"{field}.resources[storage]"))
    elif parse_quantity(size) <= 0:
        causes.append(invalid(f"{field}.resources[storage]", canonicalize(size), "must be greater than zero"))
    if spec.get("storageClassName"):
        name = spec["storageClassName"]
        causes += all_invalid(f"{field}.storageClassName", name, dns_subdomain(name))
    if spec.get("volumeMode"):
        causes += validate_enum(spec["volumeMode"], f"{field}.volumeMode", VOLUME_MODES)
    causes += _validate_sources(spec, field)
    if spec.get(ATTRIBUTES_CLASS):
        name = spec[ATTRIBUTES_CLASS]
        causes += all_invalid(f"{field}.{ATTRIBUTES_CLASS}", name, dns_subdomain(name))
    return causes


def _validate_sources(spec: Object, field: str) -> list[Cause]:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    causes: list[Cause] = []
    if source is not None:
        causes += _validate_source(source, f"{field}.dataSource")
    if reference is None:
        return causes
    causes += _validate_source(reference, f"{field}.dataSourceRef")
    namespace = reference.get("namespace")
    shown = Verbatim(f'"{field}.dataSource"')
    if namespace:
        path = f"{field}.dataSourceRef.namespace"
        causes += all_invalid(path, namespace, dns_label(namespace))
        if source is not None:
            detail = "may not be specified when dataSourceRef.namespace is specified"
            causes.append(invalid(field, shown, detail))
    elif source is not None and any(
        source.get(key) != reference.get(key) for key in ("apiGroup", "kind", "name")
    ):
        causes.append(invalid(field, shown, "must match dataSourceRef"))
    return causes


def _validate_source(source: Object, path: str) -> list[Cause]:
    causes = [required(f"{path}.{key}") for key in ("name", "kind") if not source.get(key)]
    group, kind = source.get("apiGroup") or "", source.get("kind", "")
    if not group and kind != "PersistentVolumeClaim":
        detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        causes.append(invalid(path, kind, detail))
    return causes + (all_invalid(f"{path}.apiGroup", group, dns_subdomain(group)) if group else [])


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that only the size grows, the volume is set once, and a missing class may be given."""
    mine, theirs = dict(new["spec"]), dict(old["spec"])
    causes: list[Cause] = []
    if not theirs.get("volumeName") and mine.get("volumeName"):
        theirs["volumeName"] = mine["volumeName"]
    after, before = ((c["metadata"].get("annotations") or {}).get(BETA_CLASS) for c in (new, old))
    name = mine.get("storageClassName")
    may_name = "storageClassName" not in theirs and name is not None and before in (None, name)
    if may_name:
        theirs["storageClassName"] = name
    if after != before and not (may_name and before is not None and after is None):
        field = f"metadata.annotations.{BETA_CLASS}"
        causes.append(invalid(field, after or "", "field is immutable"))
    if (new.get("status") or {}).get("phase") == "Bound":
        mine["resources"] = _with_size_of(mine, theirs)
        if mine.get(ATTRIBUTES_CLASS) is not None:
            mine[ATTRIBUTES_CLASS] = theirs.get(ATTRIBUTES_CLASS)
    if any(mine.get(key) != theirs.get(key) for key in mine.keys() | theirs.keys()):
        causes.append(forbidden("spec", f"{CHANGES}\n{show_difference(theirs, mine)}"))
    wanted, had = _size(new["spec"].get("resources")), _size(old["spec"].get("resources"))
    capacity = parse_quantity(((old.get("status") or {}).get("capacity") or {}).get("storage", "0"))
    if wanted < had and wanted <= capacity:
        detail = "field can not be less than status.capacity"
        causes.append(forbidden("spec.resources.requests.storage", detail))
    causes += validate_immutable(mine.get("volumeMode"), theirs.get("volumeMode"), "volumeMode")
    return causes + _validate_attributes_class(new["spec"], old["spec"])


def _with_size_of(mine: Object, theirs: Object) -> Object:
    resources: Object = mine.get("resources") or {}
    requests = (theirs.get("resources") or {}).get("requests") or {}
    if not resources.get("requests") or "storage" not in requests:
        return resources
    return {**resources, "requests": {**resources["requests"], "storage": requests["storage"]}}


def _size(resources: Object | None) -> Decimal:
    return parse_quantity(((resources or {}).get("requests") or {}).get("storage", "0"))


def _validate_attributes_class(mine: Object, theirs: Object) -> list[Cause]:
    field, name = f"spec.{ATTRIBUTES_CLASS}", mine.get(ATTRIBUTES_CLASS)
    if theirs.get(ATTRIBUTES_CLASS) is None or name == theirs[ATTRIBUTES_CLASS] or name:
        return []
    what = "nil" if name is None else "an empty string"
    return [forbidden(field, f"update from non-nil value to {what} is forbidden")]


def validate_status_update(new: Object, _old: Object) -> list[Cause]:
    """Check amounts, and how a resize goes (KEP-1790)."""
    status, causes = new.get("status") or {}, list[Cause]()
    if not new["spec"].get("accessModes"):
        causes.append(required("Spec.accessModes"))
    causes += _validate_amounts(status.get("capacity") or {}, "status.capacity")
    for name, resize in (status.get("allocatedResourceStatuses") or {}).items():
        field = "status.allocatedResourceStatus"
        causes += _validate_key(name, field)
        if resize not in RESIZE_STATUSES:
            causes.append(not_supported(field, name, RESIZE_STATUSES))
    allocated, field = status.get("allocatedResources") or {}, "status.allocatedResources"
    wrong = {name: problems for name in allocated if (problems := _validate_key(name, field))}
    causes += [cause for problems in wrong.values() for cause in problems]
    return causes + _validate_amounts({k: v for k, v in allocated.items() if k not in wrong}, field)


def _validate_amounts(amounts: Object, field: str) -> list[Cause]:
    return [
        invalid(f"{field}[{name}]", int(parse_quantity(amount)), "must be a valid resource quantity")
        for name, amount in amounts.items()
        if parse_quantity(amount) < 0
    ]


def _validate_key(name: str, field: str) -> list[Cause]:
    problems = all_invalid(field, name, qualified_name(name))
    is_native = "/" not in name or "kubernetes.io/" in name
    if problems or not is_native or name == "storage":
        return problems
    return [not_supported(field, name, ("storage",))]
