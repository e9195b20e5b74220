"""Refuse a definition whose rules do not compile against its schema, or compare what has no past.

Follows ValidateCustomResourceDefinitionOpenAPISchema in apiextensions-apiserver/pkg/apis/apiextensions/validation/
validation.go. Costs are bounded when rules run (rules.py), and not estimated.
"""

from __future__ import annotations

import orjson

from proa.objects.errors import Cause
from proa.objects.structural.node import Json, Node
from proa.objects.structural.rules import Rule, compile_rules
from proa.objects.validation import Verbatim, invalid

_FIELDS = {"Rule": "rule", "Message": "message", "MessageExpression": "messageExpression", "Reason": "reason",
           "FieldPath": "fieldPath", "OptionalOldSelf": "optionalOldSelf"}  # fmt: skip
"""What upstream's internal form calls a rule's fields, which its messages show."""


class SchemaRules:
    """A `schema_rules.RuleContext`: at the root of a schema, or within it."""

    def __init__(self, *, is_root: bool = False) -> None:
        self._is_root = is_root

    def item(self, schema: Json) -> SchemaRules:
        """See `RuleContext`."""
        return SchemaRules()

    def value(self, schema: Json) -> SchemaRules:
        """See `RuleContext`."""
        return SchemaRules()

    def property(self, schema: Json, name: str) -> SchemaRules:
        """See `RuleContext`."""
        return SchemaRules()

    def compile(self, schema: Json, path: str, uncorrelatable: str) -> list[Cause]:
        """See `RuleContext`."""
        node = Node(schema, is_root=self._is_root)
        causes: list[Cause] = []
        for index, rule in enumerate(compile_rules(node)):
            causes += _causes(rule, f"{path}.x-kubernetes-validations[{index}]", uncorrelatable)
        return causes


def _causes(rule: Rule, path: str, uncorrelatable: str) -> list[Cause]:
    causes = []
    if rule.error:
        causes.append(invalid(f"{path}.rule", _internal(rule.said), rule.error))
    if rule.message_error:
        causes.append(invalid(f"{path}.messageExpression", _internal(rule.said), rule.message_error))
    if rule.uses_old and uncorrelatable:
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelatable}"
        causes.append(invalid(f"{path}.rule", rule.said["rule"], why))
    if not rule.uses_old and not rule.error and "optionalOldSelf" in rule.said:
        why = "may not be set if oldSelf is not used in rule"
        causes.append(invalid(f"{path}.optionalOldSelf", rule.said["optionalOldSelf"], why))
    return causes


def _internal(said: Json) -> Verbatim:
    empty = {"reason": None, "optionalOldSelf": None}
    return Verbatim(
        orjson.dumps({name: said.get(key, empty.get(key, "")) for name, key in _FIELDS.items()}).decode()
    )
