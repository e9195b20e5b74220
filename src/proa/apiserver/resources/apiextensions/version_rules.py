"""What one version of a CustomResourceDefinition must be: its schema, subresources, columns and selectable fields.

Follows apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Any

from proa.apiserver.registry.notes import warn
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quick_dataclass import dataclass
from proa.objects.structural.default_rules import validate_defaults
from proa.objects.structural.embedded import MetadataRules
from proa.objects.structural.field_paths import BadPath, find_field
from proa.objects.structural.node import ABSENT, RULES, Node
from proa.objects.structural.schema_rules import SchemaOptions, has, validate_schema
from proa.objects.structural.structure import validate_structural
from proa.objects.validation import duplicate, forbidden, invalid, required, too_many

COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
MAX_SELECTABLE_FIELDS = 8
MAX_WARNING_CHARACTERS = 256
_IF_STATUS = "at the root of the schema if the status subresource is enabled"
_AT_ROOT = {
    "description": "Description", "type": "Type", "format": "Format", "title": "Title", "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum", "minimum": "Minimum", "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength", "minLength": "MinLength", "pattern": "Pattern", "maxItems": "MaxItems",
    "minItems": "MinItems", "uniqueItems": "UniqueItems", "multipleOf": "MultipleOf", "required": "Required",
    "items": "Items", "properties": "Properties", "externalDocs": "ExternalDocs", "example": "Example",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields", "x-kubernetes-validations": "XValidations",
}  # fmt: skip
"""What may stand at the root of a schema beside a status subresource, and what upstream's messages call it."""


@dataclass(frozen=True, slots=True)
class VersionOptions:
    """What is asked of versions; `previous` is the spec in whose place this one comes."""

    metadata_rules: MetadataRules
    schemas: SchemaOptions = field(default_factory=SchemaOptions)
    needs_schema: bool = True
    structural: bool = True
    previous: Object | None = None
    allows_bad_bundle: bool = True


def validate_schema_of(
    version: Object,
    schema: Object | None,
    path: str,
    options: VersionOptions,
    *,
    has_status: bool | None = None,
) -> Iterator[Cause]:
    """Yield what is wrong with a schema that stands at `path`, which `version` has."""
    raw = (schema or {}).get("openAPIV3Schema")
    if raw is None:
        return
    here = f"{path}.openAPIV3Schema"
    if has_status is None:
        has_status = (version.get("subresources") or {}).get("status") is not None
    if has_status:
        yield from _root_causes(raw, here)
    if raw.get("nullable"):
        yield forbidden(f"{here}.nullable", "nullable cannot be true at the root")
    found = validate_structural(raw, here) if options.structural else []
    found = found or validate_defaults(raw, here, options.metadata_rules, _rules_of_default)
    yield from found
    rules = None
    if (
        not found
        and options.structural
        and has(raw, lambda schema: bool(schema.get("x-kubernetes-validations")))
    ):
        from proa.objects.structural.rule_compiling import SchemaRules

        rules = SchemaRules(is_root=True)
    yield from validate_schema(raw, here, options.schemas, rules)


def _rules_of_default(node: Node, value: Any, path: str) -> list[Cause]:
    """Return what the rules say of a default, in place of itself and as a new value."""
    if not node.holds & RULES:
        return []
    from proa.objects.structural.rules import RuleBook, RuleCheck

    book = RuleBook()
    found = RuleCheck(book, warn, ratchets=False).run(value, value, node, path)
    return found or RuleCheck(book, warn, ratchets=False).run(value, ABSENT, node, path)


def _root_causes(raw: Object, path: str) -> Iterator[Cause]:
    for key, value in raw.items():
        if value in (None, "", False, [], {}):
            continue
        if key == "type":
            if value != "object":
                why = f'only "object" is allowed as the type {_IF_STATUS}'
                yield invalid(f"{path}.type", value, why)
                return
        elif key not in _AT_ROOT:
            listed = " ".join(_AT_ROOT.values())
            why = f"only [{listed}] fields are allowed {_IF_STATUS}"
            yield invalid(path, raw, why)
            return


def validate_deprecation(version: Object, path: str) -> Iterator[Cause]:
    """Yield what is wrong with a version's deprecationWarning."""
    text = version.get("deprecationWarning")
    if text is None:
        return
    field = f"{path}.deprecationWarning"
    if not version.get("deprecated"):
        yield invalid(field, text, "can only be set for deprecated versions")
        return
    if len(text.encode()) > MAX_WARNING_CHARACTERS:
        yield invalid(field, text, f"must be <= {MAX_WARNING_CHARACTERS} characters long")
    if not text:
        yield invalid(field, text, "must not be an empty string")
    for index, character in enumerate(text):
        if character != " " and unicodedata.category(character)[0] in "CZ":
            why = f"must only contain printable UTF-8 characters; non-printable character found at index {index}"
            yield invalid(field, text, why)
            break


def validate_subresources(subresources: Object | None, path: str) -> Iterator[Cause]:
    """Yield what is wrong with the paths of a scale subresource."""
    scale = (subresources or {}).get("scale")
    if scale is None:
        return
    for key, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        field, said = f"{path}.scale.{key}", scale.get(key) or ""
        if not said:
            yield required(field)
        elif found := _path_cause(said, field):
            yield found
        elif not said.startswith(root):
            yield invalid(field, said, f"should be a json path under {root[:-1]}")
    field, said = f"{path}.scale.labelSelectorPath", scale.get("labelSelectorPath") or ""
    if said and (found := _path_cause(said, field)):
        yield found
    elif said and not said.startswith((".spec.", ".status.")):
        yield invalid(field, said, "should be a json path under either .spec or .status")


def _path_cause(path: str, field: str) -> Cause | None:
    return (
        None if path.startswith(".") else invalid(field, path, "must be a simple json path starting with .")
    )


def validate_columns(columns: Sequence[Object] | None, path: str) -> Iterator[Cause]:
    """Yield what is wrong with printer columns."""
    for index, column in enumerate(columns or ()):
        here = f"{path}[{index}]"
        if not column.get("name"):
            yield required(f"{here}.name")
        kind, form, said = column.get("type") or "", column.get("format") or "", column.get("jsonPath") or ""
        why = f"must be one of {','.join(COLUMN_TYPES)}"
        if not kind:
            yield required(f"{here}.type", why)
        elif kind not in COLUMN_TYPES:
            yield invalid(f"{here}.type", kind, why)
        if form and form not in COLUMN_FORMATS:
            yield invalid(f"{here}.format", form, f"must be one of {','.join(COLUMN_FORMATS)}")
        if not said:
            yield required(f"{here}.JSONPath")
        elif found := _path_cause(said, f"{here}.JSONPath"):
            yield found


def validate_selectable_fields(version: Object, path: str, options: VersionOptions) -> Iterator[Cause]:
    """Yield what is wrong with a version's selectable fields."""
    raw = (version.get("schema") or {}).get("openAPIV3Schema")
    if raw is None:
        return
    fields = version["selectableFields"]
    seen: set[str] = set()
    for index, selectable in enumerate(fields):
        here, said = f"{path}[{index}].jsonPath", selectable.get("jsonPath") or ""
        if not said:
            yield required(here)
            continue
        try:
            shown, node = find_field(said, Node(raw), allow_keys=False)
        except BadPath as error:
            yield invalid(here, said, f"is an invalid path: {error}")
            continue
        if shown.partition(".")[0] == "metadata":
            yield invalid(here, said, "must not point to fields in metadata")
        if node is None or node.raw.get("type") not in ("string", "boolean", "integer"):
            why = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats "
                "are allowed."
            )
            yield invalid(here, said, why)
        if shown in seen:
            yield duplicate(here, said)
        seen.add(shown)
    if len(seen) > MAX_SELECTABLE_FIELDS and not _was_so(version, options):
        yield too_many(path, len(seen), MAX_SELECTABLE_FIELDS)


def _was_so(version: Object, options: VersionOptions) -> bool:
    before = (options.previous or {}).get("versions") or ()
    return any(v.get("name") == version.get("name") and v.get("selectableFields") == version["selectableFields"]
               for v in before)  # fmt: skip
