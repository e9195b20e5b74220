from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from proa.ml.tuning.collector.text import default_matches, parse_rfc3339, parse_time

UPSTREAM = re.compile(r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)", re.ASCII)
"""The default filter, as an expression."""


@given(st.text(alphabet="ab1-+.eE=| \t\n_:é", max_size=40))
def test_the_default_filter_finds_what_its_expression_does(text: str) -> None:
    assert list(default_matches(text)) == [(m.group(1), m.group(2)) for m in UPSTREAM.finditer(text)]


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
