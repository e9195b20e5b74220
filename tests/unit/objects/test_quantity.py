from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.objects.quantity import (
    QuantityError,
    canonicalize,
    format_bytes,
    parse_quantity,
    to_millis,
    to_units,
)

SUFFIXES = ["n", "u", "m", "", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "e3", "E-3", "e0"]
numbers = st.decimals(min_value=0, max_value=10**5, places=3).map(str)
quantities = st.builds(lambda sign, number, suffix: sign + number + suffix,
                       st.sampled_from(["", "-", "+"]), numbers, st.sampled_from(SUFFIXES))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1.", "1"),
        ("+1", "1"),
        ("-1.5", "-1500m"),
        ("0", "0"),
        ("0Ki", "0"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1000000Ki", "1000000Ki"),
        ("1000k", "1M"),
        ("12e6", "12e6"),
        ("1e-3", "1e-3"),
        ("100", "100"),
        ("0.1n", "1n"),
        ("1000Ei", "9223372036854775807"),
        (2, "2"),
        (0.25, "250m"),
    ],
)
def test_the_canonical_form_has_no_fraction_and_the_largest_suffix(text, canonical):
    assert canonicalize(text) == canonical


@pytest.mark.parametrize("text", ["", "a", "1.2.3", "--1", "1 ", " 1", ".", "1m1", "1e", "1_0", "Ki", "1٢"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(QuantityError):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [("1.2.3", "quantities must match the regular expression"), ("1i", "unable to parse quantity's suffix")],
)
def test_refusals_have_upstreams_words(text, message):
    with pytest.raises(QuantityError, match=message):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "millis", "units"),
    [("1", 1000, 1), ("100m", 100, 1), ("1n", 1, 1), ("1.5Gi", 1610612736000, 1610612736)],
)
def test_whole_numbers_are_rounded_up(text, millis, units):
    assert (to_millis(text), to_units(text)) == (millis, units)


@given(quantities)
def test_the_canonical_form_has_the_same_value_and_is_its_own(text):
    canonical = canonicalize(text)
    assert canonicalize(canonical) == canonical
    assert parse_quantity(canonical) == parse_quantity(text)


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_formatted_numbers_read_back(number):
    assert to_units(format_bytes(number)) == number


@given(quantities)
def test_rounding_up_never_loses(text):
    value = parse_quantity(text)
    assert to_units(text) - 1 < value <= to_units(text)
    assert Decimal(to_millis(text) - 1) / 1000 < value <= Decimal(to_millis(text)) / 1000
