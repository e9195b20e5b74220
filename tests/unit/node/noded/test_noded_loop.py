"""The supervisor's loop goes on, whatever it is told to wait for."""

from __future__ import annotations

import os

import pytest

from proa.node.noded.loop import READ, Loop


@pytest.mark.parametrize("seconds", [0.0, 99_999_999.0, 2.0**63], ids=["now", "three years", "int64"])
def test_a_timer_of_any_length_leaves_descriptors_served(seconds: float) -> None:
    """A pod with a grace period of years is told to end by such a timer."""
    loop, seen = Loop(), []
    reading, writing = os.pipe()
    try:
        loop.watch(reading, READ, seen.append)
        os.write(writing, b"x")
        loop.later(seconds, lambda: None)

        loop.turn()

        assert seen == [READ]

    finally:
        os.close(reading)
        os.close(writing)
