from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from proa.ml.tuning.collector.points import Points
from proa.ml.tuning.collector.text import Lines, default_matches, parse_rfc3339, parse_time

UPSTREAM = re.compile(r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)", re.ASCII)
"""The default filter, as an expression."""


@given(st.text(alphabet="ab1-+.eE=| \t\n_:é", max_size=40))
def test_the_default_filter_finds_what_its_expression_does(text: str) -> None:
    assert list(default_matches(text)) == [(m.group(1), m.group(2)) for m in UPSTREAM.finditer(text)]


def found_in(text: bytes, pieces: list[int], names: list[str]) -> list[tuple[str, str]]:
    """Return what is found in a text that comes in pieces of these sizes."""
    points = Points(names, lambda metric, value: None)
    seen: list[tuple[str, str]] = []
    points.add = lambda metric, value, at=None: seen.append((metric, value))  # type: ignore[method-assign]
    lines = Lines(points, [], is_json=False)
    for size in pieces:
        lines.feed(text[:size])
        text = text[size:]
    lines.feed(text)
    lines.end()
    return [(name, value) for name, value in seen if name in names]


@given(st.text(alphabet="ab=1 \n", max_size=60), st.lists(st.integers(0, 9), max_size=6))
def test_a_text_that_comes_in_pieces_is_read_as_a_whole(text: str, pieces: list[int]) -> None:
    expected = [
        (m.group(1), m.group(2))
        for line in text.split("\n")
        for m in UPSTREAM.finditer(line)
        if m.group(1) in ("a", "ab")
    ]
    assert found_in(text.encode(), pieces, ["a", "ab"]) == expected


def test_many_lines_are_read_as_few_are() -> None:
    text = b"".join(b"x=1 a = %d b=2\nnothing\n" % i for i in range(5000))
    assert found_in(text, [], ["a"]) == [("a", str(i)) for i in range(5000)]


def test_a_long_line_takes_time_that_grows_with_it() -> None:
    assert list(default_matches("a" * 500_000 + " = " + "1" * 10 + " " * 100_000)) == [
        ("a" * 500_000, "1" * 10)
    ]
    assert len(list(default_matches("a=1" * 100_000))) == 100_000


def test_times_are_read_in_both_forms() -> None:
    assert parse_rfc3339("1970-01-01T00:00:01.123456789Z") == 1.123456
    assert parse_rfc3339("1970-01-01T02:00:00+02:00") == 0
    assert parse_rfc3339("1970-01-01T00:00:01") is None, "no offset, no time"
    assert parse_rfc3339("epoch") is None
    assert parse_time("1.5") == 1.5
    assert parse_time(None) is None
