"""Everything that the schema of one version of a custom resource decides of its objects.

Follows unstructuredSchemaCoercer and unstructuredDefaulter in apiextensions-apiserver/pkg/apiserver/
customresource_handler.go, and pkg/registry/customresource/strategy.go. Nothing is made before an object comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proa.objects.errors import Cause
from proa.objects.schemas.check import Faults
from proa.objects.schemas.schema import Schema
from proa.objects.structural.as_schema import make_schema
from proa.objects.structural.defaulting import set_defaults
from proa.objects.structural.embedded import (
    Malformed,
    MetadataRules,
    coerce_embedded,
    coerce_metadata,
    validate_embedded,
)
from proa.objects.structural.list_types import validate_lists
from proa.objects.structural.node import ABSENT, RULES, Json, Node
from proa.objects.structural.pruning import prune
from proa.objects.structural.value_rules import validate_value
from proa.objects.structural.value_tests import ValueTests

if TYPE_CHECKING:
    from proa.objects.structural.rules import RuleBook

BLOCKING = frozenset(
    (
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    )
)
"""What is so wrong that rules are not asked."""
UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)


class CustomKind:
    """A version's schema. `load` gives its openAPIV3Schema; `keeps_all` is spec.preserveUnknownFields."""

    def __init__(self, load: Callable[[], Json], *, keeps_all: bool = False) -> None:
        self._load: Callable[[], Json] | None = load
        self._raw: Json = {}
        self._root: Node | None = None
        self._schema: Schema | None = None
        self._keeps_all = keeps_all
        self._tests = ValueTests()
        self._book: RuleBook | None = None

    @property
    def raw(self) -> Json:
        """Return the schema as its author wrote it."""
        if self._load is not None:
            self._raw, self._load = self._load(), None
        return self._raw

    @property
    def root(self) -> Node:
        """Return the schema's root."""
        if self._root is None:
            self._root = Node(self.raw, is_root=True)
        return self._root

    def schema(self) -> Schema:
        """Return the schema for those who work on any kind, which decodes as `decode` does."""
        if self._schema is None:
            self._schema = self._make_schema()
        return self._schema

    def _make_schema(self) -> Schema:
        schema = make_schema(self.root)
        schema.preserve_unknown = schema.preserve_unknown or self._keeps_all
        schema.decode = self.decode
        return schema

    def decode(self, obj: dict[str, Any]) -> Faults | None:
        """Bring an object in place to what the schema knows; return what could not be, or was not known."""
        faults = Faults()
        try:
            faults.unknown = coerce_metadata(obj)
            if not self._keeps_all:
                faults.unknown += prune(obj, self.root)
            faults.unknown += coerce_embedded(obj, self.root)
        except Malformed as error:
            faults.undecodable = str(error)
        return faults if faults.undecodable or faults.unknown else None

    def default(self, obj: dict[str, Any]) -> None:
        """Fill in defaults, in place."""
        set_defaults(obj, self.root)

    def validate(self, obj: dict[str, Any], metadata_rules: MetadataRules) -> list[Cause]:
        """Return what is wrong with a new object; the object's own metadata is not looked at."""
        causes = validate_value(obj, self.raw, self._tests)
        causes += validate_embedded(obj, self.root, metadata_rules)
        return causes + validate_lists(obj, self.root)

    def validate_update(
        self, new: dict[str, Any], old: dict[str, Any], metadata_rules: MetadataRules
    ) -> list[Cause]:
        """Return what is wrong with an object that comes in place of another: what was so before is forgiven."""
        causes = validate_value(new, self.raw, self._tests, old=old)
        causes += validate_embedded(new, self.root, metadata_rules)
        return causes + self._validate_lists(new, old)

    def validate_status_update(self, new: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
        """Return what is wrong with an object's new status."""
        causes: list[Cause] = []
        schema = (self.raw.get("properties") or {}).get("status")
        if "status" in new and schema is not None:
            causes = validate_value(new["status"], schema, self._tests, old=old.get("status"), path="status")
        return causes + self._validate_lists(new, old)

    def check_rules(
        self, new: dict[str, Any], old: Any, causes: list[Cause], warn: Callable[[str], None]
    ) -> list[Cause]:
        """Return what the rules (x-kubernetes-validations) say of an object; `old` is ABSENT for a new one.

        `causes` is what is wrong already: rules are not asked about an object that they could not rely on. What an
        update left as it was goes to `warn`.
        """
        if not self.root.holds & RULES:
            return []
        if any(cause.reason in BLOCKING for cause in causes):
            return [Cause("FieldValueInvalid", f"Invalid value: null: {UNCHECKED}", "<nil>")]
        from proa.objects.structural.rules import RuleBook, RuleCheck  # CEL is for those who use it

        if self._book is None:
            self._book = RuleBook()
        return RuleCheck(self._book, warn, ratchets=old is not ABSENT).run(new, old, self.root)

    def _validate_lists(self, new: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
        causes = validate_lists(new, self.root)
        return causes if causes and not validate_lists(old, self.root) else []
