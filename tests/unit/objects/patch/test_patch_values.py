"""Copies of JSON values are equal, types included, and share nothing that could be changed."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from proa.objects.patch.values import is_same, private_copy

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def containers(value: Any) -> list[int]:
    """Return the identities of a value's dicts and lists."""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return [id(value), *(found for item in items for found in containers(item))]
    return []


@given(VALUES)
@example({"a": [2**70, {"b": 2**64 - 1}], "c": -0.0})
def test_a_private_copy_is_the_same_and_shares_nothing(value: Any) -> None:
    copied = private_copy(value)
    assert is_same(copied, value)
    assert repr(copied) == repr(value)
    assert not set(containers(copied)) & set(containers(value))
