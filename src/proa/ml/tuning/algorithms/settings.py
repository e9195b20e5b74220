"""Read an algorithm's settings, and say of a wrong one what would be right.

An algorithm describes its settings in a table of `Setting`s. Names and limits are upstream's
(pkg/suggestion/v1beta1/*/service.py); the words of refusal begin as upstream's and go on to say what would work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from proa.ml.tuning.records import Problem

FIELD = "spec.algorithm.algorithmSettings"
EARLY_STOPPING_FIELD = "spec.earlyStopping.algorithmSettings"


@dataclass(frozen=True)
class Setting:
    """One setting: its type, what it is when it is not given, its limits (`above` leaves its value out)."""

    type: Literal["int", "float", "text"]
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: Sequence[str] = ()
    is_required: bool = False

    def read(self, text: str) -> Any:
        """Return the value; raise ValueError with words that follow the setting's name."""
        if self.type == "text":
            if self.choices and text not in self.choices:
                raise ValueError(f"{text} is not supported; it is one of {', '.join(self.choices)}")
            return text
        try:
            value = int(text) if self.type == "int" else float(text)
        except ValueError:
            raise ValueError(
                f"is {text!r}, it has to be {'a whole number' if self.type == 'int' else 'a number'}"
            ) from None
        if wrong := self._find_limit(value):
            raise ValueError(f"is {text}, it has to be {wrong}")
        return value

    def _find_limit(self, value: float) -> str:
        if not math.isfinite(value):
            return "a finite number"
        if self.minimum is not None and value < self.minimum:
            return f"greater or equal than {self.minimum:g}"
        if self.maximum is not None and value > self.maximum:
            return f"at most {self.maximum:g}"
        if self.above is not None and value <= self.above:
            return f"greater than {self.above:g}"
        if self.below is not None and value >= self.below:
            return f"less than {self.below:g}"
        return ""


SEED = Setting("int", minimum=0)
"""`random_state`: with it two experiments of the same kind are suggested the same."""


def check_settings(
    algorithm: str, table: Mapping[str, Setting], written: Mapping[str, str], field: str = FIELD
) -> list[Problem]:
    """Return what is wrong with the settings as written: unknown, missing, of the wrong type, beyond a limit."""
    problems = []
    for name, text in written.items():
        if name not in table:
            known = ", ".join(table) or "none"
            problems.append(
                Problem(field, f"unknown setting {name} for algorithm {algorithm}; it has: {known}")
            )
            continue
        try:
            table[name].read(text)
        except ValueError as error:
            problems.append(Problem(field, f"{name} {error}"))
    missing = [name for name, setting in table.items() if setting.is_required and name not in written]
    if missing:
        problems.append(Problem(field, f"{' and '.join(missing)} must be set for algorithm {algorithm}"))
    return problems


def read_settings(table: Mapping[str, Setting], written: Mapping[str, str]) -> dict[str, Any]:
    """Return all settings' values; those that are not written, or not there, are their default."""
    return {
        name: setting.read(written[name]) if name in written else setting.default
        for name, setting in table.items()
    }
