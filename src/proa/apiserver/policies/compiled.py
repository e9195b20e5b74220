"""The programs of one policy, in the order in which they run.

What does not compile (it was stored by an older server, or a variable of it) is an error each time that it should run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proa.client.protocol import Object
from proa.objects.cel import types as t
from proa.objects.cel.admission import (
    ANY_OBJECT,
    JSON_PATCHES,
    BadExpression,
    Compiler,
    compiler_of,
)
from proa.objects.cel.budget import Budget
from proa.objects.cel.errors import CelRuntimeError, CostExceeded
from proa.objects.cel.program import Program
from proa.objects.quick_dataclass import dataclass

OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


class EvaluationFailed(Exception):
    """An expression gave no value; the text is upstream's detail."""


class OutOfBudget(EvaluationFailed):
    """Nothing of the policy can run any more for this request."""

    def __init__(self) -> None:
        super().__init__(OUT_OF_BUDGET)


class Expression:
    """An expression of a policy, compiled or not."""

    __slots__ = ("_error", "_program", "source")

    def __init__(self, source: str, compile_it: Callable[[str], Program]) -> None:
        self.source = source
        self._error = ""
        self._program: Program | None = None
        try:
            self._program = compile_it(source)
        except BadExpression as error:
            self._error = f"compilation error: {error}"

    def run(self, variables: dict[str, Any], budget: Budget) -> Any:
        """Return the value; raise EvaluationFailed."""
        if self._program is None:
            raise EvaluationFailed(self._error)
        try:
            return self._program.evaluate(variables, budget)
        except CostExceeded:
            raise OutOfBudget from None
        except CelRuntimeError as error:
            raise EvaluationFailed(f"expression '{self.source}' resulted in error: {error}") from None

    def value(self, variables: dict[str, Any], budget: Budget) -> Any:
        """Return the value; raise CelRuntimeError."""
        if self._program is None:
            raise CelRuntimeError(self._error)
        return self._program.evaluate(variables, budget)


@dataclass(frozen=True, slots=True)
class Validation:
    """One rule of a ValidatingAdmissionPolicy, and what is said when it is broken."""

    expression: Expression
    message_expression: Expression | None
    message: str
    reason: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a policy notes in the audit log."""

    key: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change of a MutatingAdmissionPolicy."""

    is_json_patch: bool
    expression: Expression


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """All of a policy's expressions."""

    conditions: Sequence[Expression]
    variables: dict[str, Expression]
    validations: Sequence[Validation]
    annotations: Sequence[Annotation]
    mutations: Sequence[Mutation]


def compile_conditions(conditions: Sequence[Object], *, has_params: bool) -> Sequence[Expression]:
    """Compile the match conditions of a policy or a webhook."""
    compiler = Compiler(has_params=has_params)
    return [
        Expression(c.get("expression") or "", lambda source: compiler.compile(source.strip(), (t.BOOL,)))
        for c in conditions
    ]


def compile_policy(spec: Object) -> CompiledPolicy:
    """Compile a policy of either kind."""
    compiler = compiler_of(spec, has_patches=bool(spec.get("mutations")))
    has_params = spec.get("paramKind") is not None
    conditions = compile_conditions(spec.get("matchConditions") or (), has_params=has_params)
    variables: dict[str, Expression] = {}
    for variable in spec.get("variables") or ():
        name = variable.get("name") or ""
        variables[name] = Expression(variable.get("expression") or "", _adder(compiler, name))
    return CompiledPolicy(
        conditions,
        variables,
        [_validation(v, compiler) for v in spec.get("validations") or ()],
        [
            Annotation(a["key"], Expression(a["valueExpression"], lambda s: compiler.compile(s.strip())))
            for a in spec.get("auditAnnotations") or ()
        ],
        [_mutation(m, compiler) for m in spec.get("mutations") or ()],
    )


def _adder(compiler: Compiler, name: str) -> Callable[[str], Program]:
    return lambda source: compiler.add_variable(name, source)


def _validation(validation: Object, compiler: Compiler) -> Validation:
    said = validation.get("messageExpression") or ""
    return Validation(
        Expression(validation["expression"], lambda source: compiler.compile(source, (t.BOOL,))),
        Expression(said, lambda source: compiler.compile(source, (t.STRING,), authorizer=False))
        if said
        else None,
        (validation.get("message") or "").strip(),
        validation.get("reason") or "Invalid",
    )


def _mutation(mutation: Object, compiler: Compiler) -> Mutation:
    is_json_patch = mutation.get("patchType") == "JSONPatch"
    patch = mutation.get("jsonPatch" if is_json_patch else "applyConfiguration") or {}
    returns = (JSON_PATCHES if is_json_patch else ANY_OBJECT,)
    return Mutation(
        is_json_patch,
        Expression(patch.get("expression") or "", lambda source: compiler.compile(source, returns)),
    )
