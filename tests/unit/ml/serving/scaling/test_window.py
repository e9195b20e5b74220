"""Means and maxima over windows, beside what counting all samples again gives."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.ml.serving.scaling.window import MaxWindow, Window

SPANS = st.lists(
    st.tuples(st.floats(0.01, 9.0), st.floats(0.0, 5.0), st.floats(0.0, 500.0)), min_size=1, max_size=60
)


@given(SPANS, st.integers(1, 12), st.floats(0.0, 20.0))
def test_a_window_has_the_mean_of_all_that_lies_in_its_buckets(
    spans: list[tuple[float, float, float]], seconds: int, later: float
) -> None:
    window, time, added = Window(seconds), 1000.0, []
    for length, pause, rate in spans:
        window.add(time + pause, time + pause + length, rate)
        added.append((time + pause, time + pause + length, rate))
        time += pause + length
    now = time + later
    end = math.ceil(now)
    begin = end - seconds
    parts = [(min(b, end) - max(a, begin), rate) for a, b, rate in added]
    covered = sum(span for span, _ in parts if span > 0)
    if covered > 1e-6:
        expected = sum(span * rate for span, rate in parts if span > 0) / covered
        assert window.mean(now) == pytest.approx(expected, abs=2e-6 + 1e-6 / covered)
    elif covered == 0:
        assert window.mean(now) is None


def test_a_window_that_has_just_begun_is_over_what_there_is() -> None:
    window = Window(60)
    window.add(100, 106, 10)
    assert window.mean(106) == 10  # upstream: six seconds' worth, not sixty


def test_a_window_forgets() -> None:
    window = Window(6)
    window.add(100, 101, 10)
    assert window.mean(106) == 10
    assert window.mean(106.1) is None


@given(
    st.lists(st.tuples(st.floats(0.0, 4.0), st.integers(0, 50)), min_size=1, max_size=80), st.integers(1, 10)
)
def test_the_most_is_of_the_windows_buckets(records: list[tuple[float, int]], seconds: int) -> None:
    window, now, seen = MaxWindow(seconds), 50.0, []
    for pause, value in records:
        now += pause
        seen.append((math.ceil(now), value))
        expected = max(value for bucket, value in seen if math.ceil(now) - bucket < seconds)
        assert window.record(now, value) == expected
