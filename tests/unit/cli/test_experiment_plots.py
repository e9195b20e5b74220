"""The drawing of an objective: what is where, in Unicode and in ASCII."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.cli.experiments.plot import best_so_far, draw, find_range

FALLING = [5.0, 4.0, 5.0, 1.0, 2.0]


def test_ascii_has_a_letter_for_each_value_and_a_line_for_the_best_so_far():
    drawn = draw(FALLING, is_maximized=False, is_unicode=False, width=9, height=5)
    assert drawn == [
        "         5 +*-- o    ",
        "           |  *----  ",
        "           |         ",
        "           |        o",
        "         1 +      *--",
        "           +---------",
        "            1       5",
    ]


def test_few_values_are_marks_on_a_line_of_dots():
    drawn = draw(FALLING, is_maximized=False, is_unicode=True, width=9, height=5)
    assert sum(line.count("•") for line in drawn) == len(FALLING)
    assert drawn[-2].strip() == "└─────────"
    assert not any("*" in line for line in drawn)


def test_many_values_are_dots():
    drawn = draw([float(i % 7) for i in range(100)], is_maximized=True, is_unicode=True, width=20, height=4)
    assert "•" not in "".join(drawn)
    assert {len(line) for line in drawn[:4]} == {12 + 20}


def test_only_what_has_the_line_is_painted():
    drawn = draw(
        FALLING, is_maximized=False, is_unicode=False, width=9, height=5, paint_best=lambda text: f"<{text}>"
    )
    assert drawn[0] == "         5 +<*--> o    "
    assert drawn[1] == "           |  <*---->  "


def test_values_far_worse_than_the_rest_do_not_flatten_it():
    values = [1.0, 2.0, 3.0, 2.5, 1.5, 2.2, 2.8, 1.9, 2.1, 1_000_000.0]
    assert find_range(values, is_maximized=False) == (1.0, 3.0)
    assert find_range([-v for v in values], is_maximized=True) == (-3.0, -1.0)
    drawn = draw(values, is_maximized=False, is_unicode=False, width=20, height=4)
    assert drawn[0].endswith("o")


@pytest.mark.parametrize("value", [0.0, 3.0, -2.5, 1e300])
def test_one_value_is_drawn_in_the_middle(value: float):
    drawn = draw([value], is_maximized=False, is_unicode=False, width=5, height=5)
    assert "*" in drawn[2]


def test_nothing_is_drawn_of_nothing():
    assert draw([], is_maximized=True, is_unicode=True) == []


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=300),
    st.booleans(),
    st.booleans(),
)
def test_any_numbers_fit(values: list[float], is_maximized: bool, is_unicode: bool):
    drawn = draw(values, is_maximized=is_maximized, is_unicode=is_unicode, width=30, height=6)
    assert len(drawn) == 8
    assert {len(line) for line in drawn[:6]} == {42}
    best = best_so_far(values, is_maximized=is_maximized)
    assert best[-1] == (max if is_maximized else min)(values)
    assert all(a == b or (a < b) == is_maximized for a, b in pairwise(best))
