"""Run the macros that repeat an expression over a list or a map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cmp_to_key
from typing import Any

from proa.objects.cel.errors import CelRuntimeError, CostExceeded
from proa.objects.cel.operators import shown
from proa.objects.cel.values import MISSING, OpenMap, compare, find_key, no_overload

Frame = list[Any]
Run = Callable[[Frame], Any]


def make(
    macro: str, operand: Run, slots: tuple[int, ...], condition: Run | None, body: Run, cost: int
) -> Run:
    """Return what runs a macro: each turn sets the slots of its variables and charges `cost`."""

    def turns(frame: Frame) -> Iterator[Any]:
        """Set the variables for each turn, and yield the first of them."""
        budget = frame[0]
        first = slots[0]
        for one, other in _pairs(operand(frame), len(slots) == 2):
            budget.charge(cost)
            frame[first] = one
            if len(slots) == 2:
                frame[slots[1]] = other
            if condition is None or _truth(condition(frame)):
                yield one

    return _MAKERS[macro](turns, body)


def _pairs(value: Any, two: bool) -> Iterator[tuple[Any, Any]]:
    if type(value) is list:
        return iter(enumerate(value)) if two else ((item, None) for item in value)
    if type(value) in (dict, OpenMap):
        return iter(list(value.items()))
    raise no_overload()


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return value is True
    raise no_overload()


Turns = Callable[[Frame], Iterator[Any]]


def _quantified(decided_by: bool) -> Callable[[Turns, Run], Run]:
    undecided = not decided_by

    def make_run(turns: Turns, body: Run) -> Run:
        def run(frame: Frame) -> bool:
            error: CelRuntimeError | None = None
            for _ in turns(frame):
                try:
                    value = body(frame)
                except CostExceeded:
                    raise
                except CelRuntimeError as raised:
                    error = error or raised
                    continue
                if value is decided_by:
                    return not undecided
                if type(value) is not bool:
                    error = error or no_overload()
            if error is not None:
                raise error
            return undecided

        return run

    return make_run


def _exists_one(turns: Turns, body: Run) -> Run:
    return lambda frame: sum(_truth(body(frame)) for _ in turns(frame)) == 1


def _filter(turns: Turns, body: Run) -> Run:
    return lambda frame: [one for one in turns(frame) if _truth(body(frame))]


def _transform(turns: Turns, body: Run) -> Run:
    return lambda frame: [body(frame) for _ in turns(frame)]


def _transform_map(turns: Turns, body: Run) -> Run:
    return lambda frame: {one: body(frame) for one in turns(frame)}


def _transform_entries(turns: Turns, body: Run) -> Run:
    def run(frame: Frame) -> Any:
        made: dict[Any, Any] = {}
        for _ in turns(frame):
            entries = body(frame)
            if type(entries) is not dict:
                raise no_overload()
            frame[0].charge(len(entries))
            for key, value in entries.items():
                if find_key(made, key, frame[0]) is not MISSING:
                    raise CelRuntimeError(f"insert failed: key {shown(key)} already exists")
                made[key] = value
        return made

    return run


def _sort(turns: Turns, body: Run) -> Run:
    def run(frame: Frame) -> Any:
        items = [(body(frame), one) for one in turns(frame)]
        return [one for _, one in sort_by_key(items, frame[0])]

    return run


def sort_by_key(items: list[tuple[Any, Any]], budget: Any) -> list[tuple[Any, Any]]:
    """Return (key, value) pairs in the order of their keys, which must be of one type that has an order."""
    if len({type(key) for key, _ in items}) > 1:
        raise CelRuntimeError("list elements must have the same type")
    budget.charge(len(items) * max(len(items).bit_length(), 1))
    if any(type(key) is str for key, _ in items):
        budget.charge(sum(len(key) for key, _ in items) // 10)

    def order(one: tuple[Any, Any], other: tuple[Any, Any]) -> int:
        return compare(one[0], other[0])

    return sorted(items, key=cmp_to_key(order))


_MAKERS: dict[str, Callable[[Turns, Run], Run]] = {
    "all": _quantified(False),
    "exists": _quantified(True),
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _transform,
    "transformList": _transform,
    "transformMap": _transform_map,
    "transformMapEntry": _transform_entries,
    "sortBy": _sort,
}
