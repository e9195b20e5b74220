"""What a CustomResourceDefinition must be.

Follows apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go. Upstream's internal form has what is
the same in all versions beside them, as `spec.validation` and so on: that is where its messages find it, and ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proa.apiserver.registry.metadata import validate_metadata_at
from proa.apiserver.resources.apiextensions.approval_rules import validate_approval
from proa.apiserver.resources.apiextensions.conversion_rules import validate_conversion
from proa.apiserver.resources.apiextensions.definition_warnings import schemas_of
from proa.apiserver.resources.apiextensions.version_rules import (
    VersionOptions,
    validate_columns,
    validate_deprecation,
    validate_schema_of,
    validate_selectable_fields,
    validate_subresources,
)
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.meta import has_condition
from proa.objects.structural.schema_rules import TYPES, SchemaOptions, has, has_compound_items, map_key_causes
from proa.objects.structural.structure import validate_structural
from proa.objects.validation import (
    dns1035_label,
    dns_subdomain,
    invalid,
    not_supported,
    required,
    validate_immutable,
)

SCOPES = ("Cluster", "Namespaced")
_SHARED = (
    ("subresources", "subresources"),
    ("schema", "validation"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
)
"""What stands beside the versions where all have the same: its name there, and upstream's internal name."""


def validate(definition: Object) -> list[Cause]:
    """Check a new definition."""
    spec = definition["spec"]
    options = VersionOptions(validate_metadata_at)
    causes = _name_causes(definition)
    causes += _spec_causes(spec, options)
    causes += _status_causes(definition)
    causes += validate_approval(definition, None)
    if spec.get("preserveUnknownFields"):
        causes.append(_no_preserving(spec))
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check a definition in place of another: what was let pass before is let pass."""
    spec, before = new["spec"], old["spec"]
    raws = schemas_of(before)
    options = VersionOptions(
        validate_metadata_at,
        schemas=SchemaOptions(
            valid_types=not any(has(raw, _has_wrong_type) for raw in raws),
            atomic_sets=not any(has(raw, has_compound_items) for raw in raws),
            map_keys=not any(has(raw, lambda s: any(True for _ in map_key_causes(s, ""))) for raw in raws),
        ),
        needs_schema=len(raws) == len(before.get("versions") or ()),
        structural=not any(validate_structural(raw, "") for raw in raws),
        previous=before,
        allows_bad_bundle=not has_condition(old, "Established"),
    )
    causes = _spec_causes(spec, options)
    if has_condition(old, "Established"):
        causes += validate_immutable(spec.get("scope"), before.get("scope"), "spec.scope")
        causes += validate_immutable(
            spec["names"].get("kind"), before["names"].get("kind"), "spec.names.kind"
        )
    causes += validate_immutable(spec.get("group"), before.get("group"), "spec.group")
    causes += validate_immutable(
        spec["names"].get("plural"), before["names"].get("plural"), "spec.names.plural"
    )
    causes += _status_causes(new)
    causes += validate_approval(new, old)
    if spec.get("preserveUnknownFields") and not before.get("preserveUnknownFields"):
        causes.append(_no_preserving(spec))
    return causes


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check a status."""
    return list(_names_causes((new.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames"))


def _has_wrong_type(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("type")) and schema["type"] not in TYPES


def _no_preserving(spec: Object) -> Cause:
    why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
    return invalid("spec.preserveUnknownFields", True, why)


def _name_causes(definition: Object) -> list[Cause]:
    spec, name = definition["spec"], definition["metadata"].get("name") or ""
    if not name or name == f"{spec['names'].get('plural') or ''}.{spec.get('group') or ''}":
        return []
    return [invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')]


def _spec_causes(spec: Object, options: VersionOptions) -> list[Cause]:
    return [
        *_group_causes(spec),
        *_versions_causes(spec, options),
        *_required_names(spec["names"]),
        *_names_causes(spec["names"], "spec.names"),
        *_shared_causes(spec, options),
        *validate_conversion(spec, options.allows_bad_bundle, options.previous),
    ]


def _group_causes(spec: Object) -> Iterator[Cause]:
    group, scope = spec.get("group") or "", spec.get("scope") or ""
    if not group:
        yield required("spec.group")
    elif problems := dns_subdomain(group):
        yield invalid("spec.group", group, ",".join(problems))
    elif "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")
    if not scope:
        yield required("spec.scope")
    elif scope not in SCOPES:
        yield not_supported("spec.scope", scope, SCOPES)


def shared_parts(versions: Sequence[Object]) -> dict[str, Any]:
    """Return what all versions have the same of, by its internal name; None for what none has."""
    found = {}
    for key, name in _SHARED:
        first = versions[0].get(key) if versions else None
        if versions and all((version.get(key) or None) == (first or None) for version in versions):
            found[name] = first
    return found


def _versions_causes(spec: Object, options: VersionOptions) -> Iterator[Cause]:
    versions: Sequence[Object] = spec.get("versions") or ()
    shared = shared_parts(versions)
    if options.needs_schema and shared.get("validation") is None:
        for index, version in enumerate(versions):
            if (version.get("schema") or {}).get("openAPIV3Schema") is None:
                yield required(f"spec.versions[{index}].schema.openAPIV3Schema")
    for index, version in enumerate(versions):
        here = f"spec.versions[{index}]"
        if problems := dns1035_label(version.get("name") or ""):
            yield invalid(f"{here}.name", version.get("name") or "", ",".join(problems))
        yield from validate_deprecation(version, here)
        own = {key: version.get(key) for key, name in _SHARED if name not in shared}
        yield from validate_schema_of(version, own.get("schema"), f"{here}.schema", options)
        yield from validate_subresources(own.get("subresources"), f"{here}.subresources")
        yield from validate_columns(own.get("additionalPrinterColumns"), f"{here}.additionalPrinterColumns")
        if own.get("selectableFields"):
            yield from validate_selectable_fields(version, f"{here}.selectableFields", options)
    names = [version.get("name") for version in versions]
    if len(set(names)) < len(names):
        yield invalid("spec.versions", versions, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield invalid("spec.versions", versions, "must have exactly one version marked as storage version")


def _shared_causes(spec: Object, options: VersionOptions) -> Iterator[Cause]:
    versions: Sequence[Object] = spec.get("versions") or ()
    shared = shared_parts(versions)
    if not versions:
        return
    first = versions[0]
    if "validation" in shared:
        statuses = any((version.get("subresources") or {}).get("status") is not None for version in versions)
        yield from validate_schema_of(
            first, shared["validation"], "spec.validation", options, has_status=statuses
        )
    yield from validate_subresources(shared.get("subresources"), "spec.subresources")
    yield from validate_columns(shared.get("additionalPrinterColumns"), "spec.additionalPrinterColumns")
    if shared.get("selectableFields"):
        yield from validate_selectable_fields(first, "spec.selectableFields", options)


def _required_names(names: Object) -> Iterator[Cause]:
    for key in ("plural", "singular", "kind", "listKind"):
        if not names.get(key):
            yield required(f"spec.names.{key}")


def _names_causes(names: Object, field: str) -> Iterator[Cause]:
    for key in ("plural", "singular"):
        name = names.get(key) or ""
        if name and (problems := dns1035_label(name)):
            yield invalid(f"{field}.{key}", name, ",".join(problems))
    for key in ("kind", "listKind"):
        name = names.get(key) or ""
        if name and (problems := dns1035_label(name.lower())):
            why = "may have mixed case, but should otherwise match: " + ",".join(problems)
            yield invalid(f"{field}.{key}", name, why)
    for index, name in enumerate(names.get("shortNames") or ()):
        if problems := dns1035_label(name):
            yield invalid(f"{field}.shortNames[{index}]", name, ",".join(problems))
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield invalid(f"{field}.listKind", names["listKind"], "kind and listKind may not be the same")
    for index, name in enumerate(names.get("categories") or ()):
        if problems := dns1035_label(name):
            yield invalid(f"{field}.categories[{index}]", name, ",".join(problems))


def _status_causes(definition: Object) -> list[Cause]:
    status = definition.get("status") or {}
    causes = list(_names_causes(status.get("acceptedNames") or {}, "status.acceptedNames"))
    stored: list[str] = status.get("storedVersions") or []
    field = "status.storedVersions"
    if not stored:
        return [*causes, invalid(field, stored or None, "must have at least one stored version")]
    versions = definition["spec"].get("versions") or ()
    for version in versions:
        if version.get("storage") and version.get("name") not in stored:
            causes.append(invalid(field, stored, f"must have the storage version {version.get('name')}"))
    names = {version.get("name") for version in versions}
    for index, name in enumerate(stored):
        if name not in names:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            causes.append(invalid(f"{field}[{index}]", name, why))
    return causes
