"""A quick dataclass behaves as the standard library's, in all that this project uses."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from proa.objects import quick_dataclass

MAKERS = {"standard": dataclasses.dataclass, "quick": quick_dataclass.dataclass}


@pytest.fixture(params=MAKERS, ids=list(MAKERS))
def dataclass(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return MAKERS[request.param]


@pytest.fixture
def frozen(dataclass):
    @dataclass(frozen=True, slots=True)
    class Point:
        """A point."""

        x: int
        y: int = 2
        tags: list[str] = dataclasses.field(default_factory=list)

        @property
        def total(self) -> int:
            return self.x + self.y

    return Point


@pytest.fixture
def mutable(dataclass):
    @dataclass(slots=True)
    class Counter:
        name: str
        count: int = 0

    return Counter


def test_fields_are_given_by_place_and_name_and_have_defaults(frozen):
    point = frozen(1, tags=["a"])

    assert (point.x, point.y, point.tags, point.total) == (1, 2, ["a"], 3)


def test_a_factory_makes_a_value_for_each_object(frozen):
    frozen(1).tags.append("a")

    assert frozen(1).tags == []


@pytest.mark.parametrize("arguments", [(), (1, 2, [], 4)], ids=["too few", "too many"])
def test_a_wrong_number_of_arguments_is_refused(frozen, arguments):
    with pytest.raises(TypeError):
        frozen(*arguments)


def test_equal_values_of_one_class_are_equal(frozen, mutable):
    assert frozen(1) == frozen(1, 2)
    assert frozen(1) != frozen(2)
    assert frozen(1) != (1, 2, [])
    assert mutable("a") == mutable("a", 0)


def test_a_frozen_object_cannot_change(frozen):
    point = frozen(1)

    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x


def test_a_frozen_object_can_be_a_key(dataclass):
    @dataclass(frozen=True, slots=True)
    class Key:
        namespace: str
        name: str

    @dataclass(frozen=True, slots=True)
    class Single:
        name: str

    assert {Key("a", "b"): 1}[Key("a", "b")] == 1
    assert len({Single("a"), Single("a"), Single("b")}) == 2


def test_another_object_can_change_and_is_no_key(mutable):
    counter = mutable("a")
    counter.count += 1

    assert counter.count == 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(counter)


def test_without_equality_objects_are_themselves(dataclass):
    @dataclass(slots=True, eq=False)
    class Node:
        name: str

    assert Node("a") != Node("a")
    assert len({Node("a"), Node("a")}) == 2


def test_there_is_no_place_for_other_attributes(mutable):
    with pytest.raises(AttributeError):
        mutable("a").other = 1


def test_it_is_shown_as_it_is_made(dataclass):
    @dataclass(frozen=True, slots=True)
    class Port:
        number: int
        name: str = ""

    assert repr(Port(80, "http")).endswith("Port(number=80, name='http')")


def test_the_standard_functions_know_it(frozen):
    point = frozen(1, tags=["a"])

    assert dataclasses.is_dataclass(point)
    assert [field.name for field in dataclasses.fields(frozen)] == ["x", "y", "tags"]
    assert dataclasses.asdict(point) == {"x": 1, "y": 2, "tags": ["a"]}
    assert dataclasses.replace(point, x=5) == frozen(5, tags=["a"])


def test_it_can_be_copied_and_matched(frozen):
    point = frozen(1, tags=["a"])

    assert copy.copy(point) == point
    assert copy.deepcopy(point) == point
    match point:
        case frozen(x, y):
            assert (x, y) == (1, 2)


def test_a_method_of_its_own_stays(dataclass):
    @dataclass(frozen=True, slots=True)
    class Quiet:
        secret: str

        def __repr__(self) -> str:
            return "Quiet"

        def __hash__(self) -> int:
            return 7

    assert repr(Quiet("a")) == "Quiet"
    assert hash(Quiet("a")) == 7


@quick_dataclass.dataclass(frozen=True, slots=True)
class Pickled:
    x: int
    y: str = ""


def test_it_can_be_pickled():
    assert pickle.loads(pickle.dumps(Pickled(1, "a"))) == Pickled(1, "a")


@pytest.mark.parametrize("option", ["init", "repr", "compare"])
def test_what_is_not_offered_is_refused(option):
    with pytest.raises(TypeError, match="standard library"):

        @quick_dataclass.dataclass(slots=True)
        class Hidden:
            x: int = dataclasses.field(default=0, **{option: False})
