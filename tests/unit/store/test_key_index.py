"""The key index agrees with a sorted set."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.store import index
from proa.store.index import KeyIndex, prefix_bounds

short = st.text("ab/\U0010ffff", max_size=4)


@given(st.lists(short), short, short)
def test_bounds_select_exactly_the_keys_under_a_prefix(
    keys: list[str], prefix: str, start_after: str
) -> None:
    low, high = prefix_bounds(prefix, start_after)
    for key in keys:
        inside = key >= low and (high is None or key < high)
        assert inside == (key.startswith(prefix) and (not start_after or key > start_after))


def test_it_agrees_with_a_sorted_set_while_blocks_split_and_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_BLOCK_KEYS", 8)
    chance = random.Random(7)
    keys, expected = KeyIndex(f"{n:04}" for n in range(0, 400, 7)), {f"{n:04}" for n in range(0, 400, 7)}
    for _ in range(4000):
        key = f"{chance.randrange(400):04}"
        if key in expected:
            expected.remove(key)
            keys.remove(key)
        elif chance.random() < 0.7:
            expected.add(key)
            keys.add(key)
        low, high = sorted((f"{chance.randrange(420):04}", f"{chance.randrange(420):04}"))
        inside = sorted(each for each in expected if low <= each < high)
        assert keys.count(low, high) == len(inside)
        assert list(keys.between(low, high)) == inside
        limit = chance.randrange(20)
        assert keys.first(low, high, limit) == inside[: limit or None]
        assert keys.has_prefix(low[:3]) == any(each.startswith(low[:3]) for each in expected)
    assert list(keys.between("", None)) == keys.first("", None) == sorted(expected)
    assert keys.first("", None, 9) == sorted(expected)[:9]


def test_removing_what_is_not_there_is_an_error() -> None:
    keys = KeyIndex(["a", "c"])
    for missing in ("b", "d"):
        with pytest.raises(KeyError):
            keys.remove(missing)
