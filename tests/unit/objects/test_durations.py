"""Durations are read as Go reads them, to the nanosecond."""

from __future__ import annotations

import re

import pytest

from proa.objects.durations import SECOND, parse_duration


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("1ns", 1),
        ("1.5s", 1_500_000_000),
        ("-1.5s", -1_500_000_000),
        (".5m", 30 * SECOND),
        ("1h2m3s", 3723 * SECOND),
        ("5µs", 5_000),
        ("5μs", 5_000),
        ("1.0000000001s", SECOND),
        ("2562047h47m16.854775807s", 2**63 - 1),
    ],
)
def test_what_go_writes_is_read_exactly(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        (".s", 'time: invalid duration ".s"'),
        ("1h x", 'time: unknown unit "h x" in duration "1h x"'),
        ("5", 'time: missing unit in duration "5"'),
        ("1h5", 'time: missing unit in duration "1h5"'),
        ("5d", 'time: unknown unit "d" in duration "5d"'),
        ("2562047h47m16.854775808s", 'time: invalid duration "2562047h47m16.854775808s"'),
        ("1" * 200 + "s", f'time: invalid duration "{"1" * 100}"'),
    ],
)
def test_what_is_no_duration_is_said_in_gos_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        parse_duration(text)
