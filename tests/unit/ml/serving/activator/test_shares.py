"""Namespaces share the bytes that are kept: whatever some do, there is room for the next one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proa.ml.serving.activator.shares import Shares


def fill(shares: Shares, namespace: str, size: int = 1) -> int:
    """Keep as much as a namespace may; return how much that is."""
    share, kept = shares.of(namespace), 0
    while not share.is_full:
        share.keep(size)
        kept += size
    return kept


def test_one_alone_has_half_and_each_next_one_as_much_as_is_left_then() -> None:
    shares = Shares(1200)
    assert [fill(shares, name) for name in "abc"] == [600, 300, 150]
    shares.of("a").keep(-600)
    assert not shares.of("b").is_full
    assert shares.kept_bytes == 450


def test_those_that_always_want_more_come_to_have_the_same() -> None:
    shares = Shares(1200)
    for name in "ab":
        fill(shares, name)
    for _ in range(600):  # what each has is answered bit by bit, and taken anew where that is allowed
        for name in "ab":
            shares.of(name).keep(-1)
        for name in "ba":
            fill(shares, name)
    assert fill(shares, "a") == fill(shares, "b") == 0
    assert 800 <= shares.kept_bytes <= 802


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 20_000))))
def test_there_is_always_room_for_one_who_has_nothing(steps: list[tuple[str, int]]) -> None:
    shares, kept = Shares(10_000), dict.fromkeys("abcdef", 0)
    for name, size in steps:
        if shares.of(name).is_full:
            shares.of(name).keep(-kept[name])
            kept[name] = 0
        else:
            shares.of(name).keep(size)
            kept[name] += size
        assert shares.kept_bytes == sum(kept.values())
        assert not shares.is_full("another")
