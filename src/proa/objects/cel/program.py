"""Compile an expression once, run it often, never for long.

    environment = Environment({"self": from_schema(schema), "oldSelf": from_schema(schema)})
    program = compile_expression("self.replicas >= oldSelf.replicas", environment, returns=BOOL)
    program.evaluate({"self": new, "oldSelf": old})            # -> True

Values go in as plain JSON (they are never changed) and come out as they are: bool, int, float, str, list, dict, None,
or a type of values.py. Compiled programs are kept by environment and text, the latest 1,024 of them.

The language is our own implementation (docs/decisions/0006-cel.md); nothing here waits or uses threads. A program
spends a `Budget` of steps (budget.py): no more than some 20 ms, whatever the expression and the values.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from proa.objects.cel.budget import Budget
from proa.objects.cel.checker import Checker
from proa.objects.cel.compiler import Compiler, Run
from proa.objects.cel.environment import Environment
from proa.objects.cel.errors import CelCompileError, CelRuntimeError, CelTypeError, Issue
from proa.objects.cel.parser import parse
from proa.objects.cel.types import Type

MOST_PROGRAMS = 1024


class Program:
    """An expression that is ready to run; `type` is what it gives."""

    __slots__ = ("_run", "_slots", "source", "type")

    def __init__(self, source: str, kind: Type, run: Run, slots: int) -> None:
        self.source = source
        self.type = kind
        self._run = run
        self._slots = slots

    def evaluate(self, variables: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """Return the expression's value; raise CelRuntimeError (CostExceeded when the budget is spent)."""
        frame: list[Any] = [None] * self._slots
        frame[0] = Budget() if budget is None else budget
        frame[1] = variables
        try:
            return self._run(frame)
        except RecursionError:
            raise CelRuntimeError("evaluation is nested too deeply") from None


_programs: OrderedDict[tuple[int, str], tuple[Environment, Program | CelCompileError]] = OrderedDict()


def compile_expression(source: str, environment: Environment, returns: Type | None = None) -> Program:
    """Return the program of an expression; raise CelCompileError.

    `returns` is the type that it must give (dyn passes): else CelTypeError `must evaluate to bool`.
    """
    key = (id(environment), source)
    found = _programs.get(key)
    if found is None:
        found = _programs[key] = (environment, _compile(source, environment))
        if len(_programs) > MOST_PROGRAMS:
            _programs.popitem(last=False)
    else:
        _programs.move_to_end(key)
    program = found[1]
    if isinstance(program, CelCompileError):
        raise program.with_traceback(None)
    if returns is not None and program.type.kind != "dyn" and program.type != returns:
        raise CelTypeError(f"must evaluate to {returns}")
    return program


def _compile(source: str, environment: Environment) -> Program | CelCompileError:
    try:
        tree = parse(source, has_bindings=environment.has_bindings)
        checker = Checker(environment, source)
        kind = checker.check(tree)
        compiler = Compiler(environment, checker)
        run = compiler.compile(tree)
    except CelCompileError as error:
        return error
    except RecursionError:
        return CelCompileError(source, [Issue(0, "expression recursion limit exceeded")])
    return Program(source, kind, run, compiler.slots)
