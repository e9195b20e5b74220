"""Hold objects to the rules that their schemas state in CEL (x-kubernetes-validations).

A rule sees the value that its schema describes as `self`, and the one in whose place it comes as `oldSelf`; what an
update left as it was is warned of, not refused. Follows apiextensions-apiserver/pkg/apiserver/schema/cel:
compilation.go and validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from proa.objects.cel.budget import DEFAULT_COST, Budget
from proa.objects.cel.environment import Environment
from proa.objects.cel.errors import CelCompileError, CelError, CelRuntimeError, CelTypeError, CostExceeded
from proa.objects.cel.program import Program, compile_expression
from proa.objects.cel.types import BOOL, DYN, STRING, Fields, Type, from_schema, object_of, optional_of
from proa.objects.cel.values import Optional
from proa.objects.errors import Cause
from proa.objects.quick_dataclass import dataclass
from proa.objects.structural.as_schema import make_schema
from proa.objects.structural.field_paths import BadPath, find_field
from proa.objects.structural.list_types import identity, map_key
from proa.objects.structural.node import ABSENT, RULES, Json, Node
from proa.objects.validation import invalid, not_shown, quote

OBJECT_COST = 2 * DEFAULT_COST
"""What all rules together may cost for one object: about 50 ms."""
MAX_MESSAGE_BYTES = 5 * 1024
_NEWLINE = re.compile(r"\n")
_SELF_META = object_of("metadata", {"name": STRING, "generateName": STRING})
Warn = Callable[[str], None]


class _RootFields(Fields):
    """The fields of a whole object: of its metadata, rules see the names."""

    def __init__(self, own: Fields | None) -> None:
        self._own = own

    def find(self, name: str) -> Type | None:
        if name in ("apiVersion", "kind"):
            return STRING
        if name == "metadata":
            return _SELF_META
        return self._own.find(name) if self._own is not None else None

    def source_name(self, name: str) -> str:
        return self._own.source_name(name) if self._own is not None else name


def type_of(node: Node) -> Type:
    """Return the type that rules know a node's values by."""
    made = from_schema(make_schema(node), "selfType")
    if node.is_embedded:
        return Type("object", "selfType", fields=_RootFields(made.fields if made is not None else None))
    if made is None:
        return object_of("selfType", {}) if node.raw.get("type") == "object" else DYN
    return made


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule. `error` says why there is no program."""

    said: Json
    program: Program | None = None
    message: Program | None = None
    uses_old: bool = False
    field: str = ""
    error: str = ""
    message_error: str = ""

    @property
    def is_optional(self) -> bool:
        """Tell whether oldSelf may be absent."""
        return bool(self.said.get("optionalOldSelf"))

    @property
    def shown(self) -> str:
        """Return what messages call the rule: its message, or its text."""
        return (self.said.get("message") or self.said.get("rule") or "").strip()


def compile_rules(node: Node) -> list[Rule]:
    """Return the rules of a node, in order; those that are empty are left out."""
    mine = type_of(node)
    alone = Environment({"self": mine})
    pair = Environment({"self": mine, "oldSelf": mine})
    maybe = Environment({"self": mine, "oldSelf": optional_of(mine)})
    return [
        _compile(said, node, alone, maybe if said.get("optionalOldSelf") else pair)
        for said in node.raw.get("x-kubernetes-validations") or ()
        if (said.get("rule") or "").strip()
    ]


def _compile(said: Json, node: Node, alone: Environment, both: Environment) -> Rule:
    uses_old = False
    try:
        try:
            program = compile_expression(said["rule"], alone, BOOL)
        except CelCompileError:
            program = compile_expression(said["rule"], both, BOOL)
            uses_old = True
    except CelTypeError:
        return Rule(said, error="cel expression must evaluate to a bool")
    except CelError as error:
        return Rule(said, error=str(error))
    message, wrong = None, ""
    if said.get("messageExpression"):
        try:
            message = compile_expression(said["messageExpression"], both, STRING)
        except CelTypeError:
            wrong = "messageExpression must evaluate to a string"
        except CelError as error:
            wrong = f"messageExpression {error}"
    field = ""
    if said.get("fieldPath"):
        try:
            field = find_field(said["fieldPath"], node)[0]
        except BadPath:
            field = ""  # refused when the definition was written
    return Rule(said, program, message, uses_old, field, "", wrong)


class RuleBook:
    """The compiled rules of one definition, node by node, made when a value comes there."""

    def __init__(self) -> None:
        self._rules: dict[int, list[Rule]] = {}

    def of(self, node: Node) -> list[Rule]:
        """Return a node's rules."""
        found = self._rules.get(id(node))
        if found is None:
            found = self._rules[id(node)] = compile_rules(node)
        return found


class _Spent(Exception):
    """No further rules are run."""


class RuleCheck:
    """One check of one object. `ratchets` is whether it comes in place of another that may excuse it."""

    def __init__(self, book: RuleBook, warn: Warn, *, ratchets: bool) -> None:
        self._book = book
        self._warn = warn
        self._ratchets = ratchets
        self._left = OBJECT_COST
        self._causes: list[Cause] = []

    def run(self, value: Any, old: Any, node: Node, path: str = "") -> list[Cause]:
        """Return what the rules say of a value; `old` is ABSENT where there is none."""
        with suppress(_Spent):  # which the last cause says
            self._walk(value, old, node, path, (value, old))
        return self._causes

    def _walk(self, value: Any, old: Any, node: Node, path: str, near: tuple[Any, Any]) -> None:
        """`near` are the values, new and old, of the nearest place that both objects surely have."""
        if value is None or not node.holds & RULES:
            return
        if node.raw.get("x-kubernetes-validations"):
            self._check(value, old, node, path or "<nil>", near)
        for below, item, before, child in _children(value, old, node, path):
            is_meta = not path and node.is_embedded and below in ("apiVersion", "kind")
            pair = near if before is ABSENT else (item, before)
            self._walk(
                item, ABSENT if before is None else before, child, below, (item, ABSENT) if is_meta else pair
            )

    def _check(self, value: Any, old: Any, node: Node, path: str, near: tuple[Any, Any]) -> None:
        kind = node.raw.get("type") or ""
        if self._left <= 0:
            self._add_spent(path, kind)
        has_old = old is not ABSENT and old is not None
        for rule in self._book.of(node):
            if rule.program is None:
                self._causes.append(invalid(path, kind, f"rule compile error: {rule.error}"))
                continue
            if rule.uses_old and not has_old and not rule.is_optional:
                continue
            variables = {"self": value}
            if rule.is_optional:
                variables["oldSelf"] = Optional(old, True) if has_old else Optional(None, False)
            elif has_old:
                variables["oldSelf"] = old
            if self._passes(rule, variables, path, kind):
                continue
            cause = self._cause(rule, variables, value, path, kind)
            if not rule.uses_old and self._ratchets and identity(near[0]) == identity(near[1]):
                self._warn(f"{cause.field}: {cause.message}")
            else:
                self._causes.append(cause)

    def _passes(self, rule: Rule, variables: dict[str, Any], path: str, kind: str) -> bool:
        assert rule.program is not None
        try:
            return self._evaluate(rule.program, variables) is True
        except CostExceeded as error:
            if self._left <= 0:
                self._add_spent(path, kind)
            why = f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: "
            self._causes.append(invalid(path, kind, why + rule.shown))
            raise _Spent from None
        except CelRuntimeError as error:
            text = str(error)
            if text.startswith("no such overload"):
                why = f"'{text}': call arguments did not match a supported operator, function or macro signature for "
                self._causes.append(invalid(path, kind, f"{why}rule: {rule.shown}"))
            else:
                self._causes.append(invalid(path, kind, f"{text} evaluating rule: {rule.shown}"))
            return True

    def _evaluate(self, program: Program, variables: dict[str, Any]) -> Any:
        budget = Budget(min(DEFAULT_COST, self._left))
        given = budget.left
        try:
            return program.evaluate(variables, budget)
        finally:
            self._left -= given - max(budget.left, 0)

    def _add_spent(self, path: str, kind: str) -> None:
        why = "validation failed due to running out of cost budget, no further validation rules will be run"
        self._causes.append(invalid(path, kind, why))
        raise _Spent

    def _cause(self, rule: Rule, variables: dict[str, Any], value: Any, path: str, kind: str) -> Cause:
        detail = self._message(rule, variables, path, kind)
        field = path
        if rule.field:
            field = rule.field if path == "<nil>" else f"{path}.{rule.field}"
        reason = rule.said.get("reason") or "FieldValueInvalid"
        is_whole = kind in ("object", "array")
        if reason == "FieldValueForbidden":
            return Cause(reason, f"Forbidden: {detail}", field)
        if reason == "FieldValueRequired":
            return Cause(reason, f"Required value: {detail}", field)
        if reason == "FieldValueDuplicate":
            return Cause(
                reason, "Duplicate value" if is_whole else f"Duplicate value: {_shown(value)}", field
            )
        return not_shown(field, detail) if is_whole else invalid(field, value, detail)

    def _message(self, rule: Rule, variables: dict[str, Any], path: str, kind: str) -> str:
        if rule.message is not None:
            try:
                said = self._evaluate(rule.message, variables)
            except CostExceeded:
                why = "no further validation rules will be run due to call cost exceeds limit for messageExpression: "
                self._causes.append(invalid(path, kind, why + quote(rule.said["messageExpression"])))
                raise _Spent from None
            except CelRuntimeError:
                said = ""
            text = said.strip() if isinstance(said, str) else ""
            if text and len(text.encode()) <= MAX_MESSAGE_BYTES and not _NEWLINE.search(text):
                return text
        return (rule.said.get("message") or "").strip() or f"failed rule: {rule.shown}"


def _shown(value: Any) -> str:
    return (
        quote(value)
        if isinstance(value, str)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )


def _children(value: Any, old: Any, node: Node, path: str) -> Iterator[tuple[str, Any, Any, Node]]:
    """Yield what is in a value: its path, itself, the old one that it is known to come in place of, and its node."""
    if type(value) is dict:
        before = old if type(old) is dict else None
        for key, item in value.items():
            child = node.child(key)
            here = f"{path}.{key}" if path else key
            if child is None:
                child, here = node.others, f"{path}[{key}]"
            if child is not None:
                yield here, item, ABSENT if before is None else before.get(key), child
    elif type(value) is list and (items := node.items) is not None:
        known: dict[Any, Any] = {}
        if node.raw.get("x-kubernetes-list-type") == "map" and type(old) is list:
            known = {identity(map_key(item, node)): item for item in reversed(old)}
        for index, item in enumerate(value):
            yield (
                f"{path}[{index}]",
                item,
                known.get(identity(map_key(item, node)), ABSENT) if known else ABSENT,
                items,
            )
