"""Say what is wrong with match conditions: names, and expressions that do not compile.

Follows validateMatchConditions in pkg/apis/admissionregistration/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.validation import all_invalid, duplicate, invalid, qualified_name, required, too_many

MAX_CONDITIONS = 64


def validate_match_conditions(
    conditions: Sequence[Object], field: str, *, has_params: bool = False
) -> list[Cause]:
    """Check a list of match conditions."""
    causes = []
    if len(conditions) > MAX_CONDITIONS:
        causes.append(too_many(field, len(conditions), MAX_CONDITIONS))
    names: set[str] = set()
    for index, condition in enumerate(conditions):
        at = f"{field}[{index}]"
        name = condition.get("name") or ""
        expression = (condition.get("expression") or "").strip()
        causes += (
            _validate_expression(expression, f"{at}.expression", has_params)
            if expression
            else [required(f"{at}.expression")]
        )
        causes += all_invalid(f"{at}.name", name, qualified_name(name)) if name else [required(f"{at}.name")]
        if name and name in names:
            causes.append(duplicate(f"{at}.name", name))
        names.add(name)
    return causes


def _validate_expression(expression: str, field: str, has_params: bool) -> list[Cause]:
    """Check that an expression compiles to a bool."""
    from proa.apiserver.admission.expressions import compile_condition
    from proa.objects.cel.errors import CelError

    try:
        compile_condition(expression, has_params=has_params)
    except CelError as error:
        return [invalid(field, expression, str(error))]
    return []
