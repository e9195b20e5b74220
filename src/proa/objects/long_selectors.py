"""Try a selector of thousands of terms on many objects: what that costs is up to the object, not to the terms.

Requirements are found by the key that they are about, values in sets. The answers are those of selectors.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from proa.objects.selectors import LabelSelector, Requirement

FEW_TERMS = 20
"""Requirements and values that are quickly tried one by one."""

LabelTest = Callable[[Mapping[str, str]], bool]
FieldTest = tuple[str, frozenset[str], frozenset[str]]
"""A field, the values that it must all have (more than one: nothing does), and those that it may not have."""


def label_test(selector: LabelSelector) -> LabelTest:
    """Return what tells whether an object with some labels is picked."""
    terms = sum(1 + len(requirement.values) for requirement in selector.requirements)
    return selector.matches if terms <= FEW_TERMS or selector.nothing else _LongSelector(selector).matches


def field_tests(requirements: Sequence[tuple[str, Literal["=", "!="], str]]) -> tuple[FieldTest, ...]:
    """Return the requirements, those about one field together."""
    equal: dict[str, set[str]] = {field: set() for field, _, _ in requirements}
    differ: dict[str, set[str]] = {field: set() for field in equal}
    for field, operator, value in requirements:
        (equal if operator == "=" else differ)[field].add(value)
    return tuple((field, frozenset(equal[field]), frozenset(differ[field])) for field in equal)


class _LongSelector:
    """An object is asked for the labels that it has, and for those that it must have."""

    def __init__(self, selector: LabelSelector) -> None:
        self._tests: dict[str, list[Callable[[str], bool]]] = {}
        self._absent: set[str] = set()
        self._needed: set[str] = set()
        for requirement in selector.requirements:
            if requirement.matches({}):
                if requirement.operator == "!":
                    self._absent.add(requirement.key)
                    continue
            else:
                self._needed.add(requirement.key)
            self._tests.setdefault(requirement.key, []).append(_value_test(requirement))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether an object with these labels is picked."""
        if not self._needed <= labels.keys() or not self._absent.isdisjoint(labels):
            return False
        few, many = (labels, self._tests) if len(labels) < len(self._tests) else (self._tests, labels)
        return all(test(labels[key]) for key in few if key in many for test in self._tests[key])


def _value_test(requirement: Requirement) -> Callable[[str], bool]:
    """Return what tells whether a label that is there meets the requirement."""
    values = frozenset(requirement.values)
    match requirement.operator:
        case "in" | "=" | "==":
            return values.__contains__
        case "notin" | "!=":
            return lambda value: value not in values
    return lambda value: requirement.matches({requirement.key: value})
