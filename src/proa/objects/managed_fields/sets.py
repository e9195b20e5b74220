"""Do algebra on sets of fields, in the form in which objects carry them: FieldsV1.

A set is a dict from steps (elements.py) to what lies below. A step with nothing below is in the set itself; one with
something below is, if "." is there too. So `{"f:a": {}, "f:b": {".": {}, "f:c": {}}, "f:d": {"f:e": {}}}` has a, b,
b.c and d.e, but not d. Sets are values: nothing here changes one, and parts are shared.

Follows structured-merge-diff/fieldpath/set.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proa.objects.managed_fields.elements import SELF, canonical, in_order

FieldSet = dict[str, Any]
LEAF: FieldSet = {}
"""What lies below a step that is in the set alone. Shared: never changed."""
EMPTY: FieldSet = {}
MAX_DEPTH = 100
"""Steps of a path that a client may send; no schema goes that deep."""


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    """Return what is in either; `a` itself where `b` adds nothing."""
    if not a or not b:
        return a or b
    return _joined(a, b)


def _joined(a: FieldSet, b: FieldSet) -> FieldSet:
    out: FieldSet | None = None
    for step, below in b.items():
        had = a.get(step)
        merged = below if had is None else _joined_step(had, below)
        if merged is not had:
            if out is None:
                out = dict(a)
            out[step] = merged
    return a if out is None else out


def _joined_step(a: FieldSet, b: FieldSet) -> FieldSet:
    if not b:
        return a if not a or SELF in a else {SELF: LEAF, **a}
    if not a:
        return b if SELF in b else {SELF: LEAF, **b}
    return _joined(a, b)


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    """Return what is in both."""
    out: FieldSet = {}
    for step, below in a.items():
        other = b.get(step)
        if other is None or step == SELF:
            continue
        children = intersection(below, other) if below and other else EMPTY
        kept = _step(is_member(below) and is_member(other), children)
        if kept is not None:
            out[step] = kept
    return out


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """Return what is in `a` and not in `b`; `a` itself where they share nothing. Parents and children are apart."""
    out: FieldSet | None = None
    for step, other in b.items():
        below = a.get(step)
        if below is None or step == SELF:
            continue
        children = difference(below, other) if below and other else below
        was = is_member(below)
        is_one = was and not is_member(other)
        if children is below and is_one == was:
            continue
        if out is None:
            out = dict(a)
        kept = _step(is_one, {k: v for k, v in children.items() if k != SELF})
        if kept is None:
            del out[step]
        else:
            out[step] = kept
    return a if out is None else out


def _step(member: bool, children: FieldSet) -> FieldSet | None:
    if not children:
        return LEAF if member else None
    return {SELF: LEAF, **children} if member else children


def is_member(below: FieldSet) -> bool:
    """Tell whether the step that `below` belongs to is itself in the set."""
    return not below or SELF in below


def paths(fields: FieldSet, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every path in the set: a step before what is below it."""
    for step, below in fields.items():
        if step == SELF:
            continue
        path = (*prefix, step)
        if is_member(below):
            yield path
        yield from paths(below, path)


def ordered(fields: FieldSet) -> FieldSet:
    """Return the set with its steps in upstream's order."""
    if not fields:
        return fields
    return {step: ordered(fields[step]) for step in in_order(fields)}


def from_client(fields: object, depth: int = MAX_DEPTH) -> FieldSet:
    """Return a set that a client has sent, each step spelled as we do; raise ValueError."""
    if not isinstance(fields, dict) or not depth:
        raise ValueError("fieldsV1 must be an object, and not too deep")
    out: FieldSet = {}
    for step, below in fields.items():
        if step == SELF:
            out[SELF] = LEAF
        else:
            out[canonical(step)] = from_client(below, depth - 1)
    return LEAF if out.keys() == {SELF} else ordered(out)
