"""Semantic versions (apiserver/pkg/cel/library/semverlib.go version 1; blang/semver)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Any, ClassVar

from proa.objects.cel.errors import CelRuntimeError
from proa.objects.cel.functions import Functions, overload

_NUMBER = "(0|[1-9][0-9]{0,18})"
_PART = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?\Z",
    re.ASCII,
)
_MAX_TEXT = 256


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Semver:
    """A version: its build metadata says nothing about its order."""

    TYPE_NAME: ClassVar[str] = "kubernetes.Semver"
    major: int
    minor: int
    patch: int
    pre: tuple[str, ...]

    def key(self) -> tuple[Any, ...]:
        """Return what orders versions: one without a pre-release is later than one with it."""
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre)
        return self.major, self.minor, self.patch, not self.pre, parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and self.key() == other.key()

    def __lt__(self, other: Semver) -> bool:
        return bool(self.key() < other.key())

    def __hash__(self) -> int:
        return hash(self.key())


def read_semver(text: str, normalize: bool = False) -> Semver:
    """Return `semver(text, normalize)`; raise CelRuntimeError."""
    match = (
        _SEMVER.match(_normalized(text[:_MAX_TEXT]) if normalize else text)
        if len(text) <= _MAX_TEXT
        else None
    )
    if match is None:
        problem = "Version string empty" if text == "" else "No Major.Minor.Patch elements found"
        raise CelRuntimeError(problem)
    pre = tuple(match[4].split(".")) if match[4] else ()
    return Semver(int(match[1]), int(match[2]), int(match[3]), pre)


def _normalized(text: str) -> str:
    """Drop a leading v and leading zeros; a missing minor or patch is 0."""
    parts = text.removeprefix("v").split(".", 2)
    for at, part in enumerate(parts):
        if len(part) > 1:
            stripped = part.lstrip("0")
            parts[at] = stripped if stripped[:1].isdigit() else "0" + stripped
    if len(parts) < 3:
        if any(mark in parts[-1] for mark in "+-"):
            raise CelRuntimeError("Short version cannot contain PreRelease/Build meta data")
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        read_semver(text, normalize)
    except CelRuntimeError:
        return False
    return True


def _compare(one: Semver, other: Semver) -> int:
    return (one > other) - (one < other)


_S = "kubernetes.Semver"
FUNCTIONS: Functions = {
    "semver": (overload(f"(string) -> {_S}", read_semver), overload(f"(string, bool) -> {_S}", read_semver)),
    "isSemver": (overload("(string) -> bool", _is_semver), overload("(string, bool) -> bool", _is_semver)),
    "isGreaterThan": (overload(f"{_S}.({_S}) -> bool", lambda one, other: one > other),),
    "isLessThan": (overload(f"{_S}.({_S}) -> bool", lambda one, other: one < other),),
    "compareTo": (overload(f"{_S}.({_S}) -> int", _compare),),
    "major": (overload(f"{_S}.() -> int", lambda version: version.major),),
    "minor": (overload(f"{_S}.() -> int", lambda version: version.minor),),
    "patch": (overload(f"{_S}.() -> int", lambda version: version.patch),),
}
