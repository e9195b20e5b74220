"""Who gets traffic, and which revisions are the last ones rolled out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.ml.serving.revisions.traffic import Rollout, kept_revisions, plan_traffic

ONE, TWO, THREE = "m-predictor-00001", "m-predictor-00002", "m-predictor-00003"


@pytest.mark.parametrize(
    ("rollout", "percent", "shares", "after"),
    [
        pytest.param(Rollout(ONE), None, [], Rollout(ONE), id="nothing is ready"),
        pytest.param(
            Rollout(ONE, ONE), None, [(ONE, 100, True)], Rollout(ONE, ONE, ONE), id="the first is rolled out"
        ),
        pytest.param(
            Rollout(ONE, ONE), 10, [(ONE, 10, True), (ONE, 90, False)], Rollout(ONE, ONE, ONE),
            id="a canary beside nothing is all there is",
        ),
        pytest.param(
            Rollout(TWO, ONE, ONE), 10, [(ONE, 10, True), (ONE, 90, False)], Rollout(TWO, ONE, ONE),
            id="a canary that is not ready gets nothing",
        ),
        pytest.param(
            Rollout(TWO, TWO, ONE), 10, [(TWO, 10, True), (ONE, 90, False)], Rollout(TWO, TWO, ONE), id="canary"
        ),
        pytest.param(
            Rollout(TWO, TWO, ONE), None, [(TWO, 100, True)], Rollout(TWO, TWO, TWO, ONE), id="promoted"
        ),
        pytest.param(
            Rollout(TWO, TWO, ONE), 100, [(TWO, 100, True)], Rollout(TWO, TWO, TWO, ONE), id="promoted by 100"
        ),
        pytest.param(
            Rollout(TWO, TWO, ONE), 0, [(TWO, 0, True), (ONE, 100, False)], Rollout(TWO, TWO, ONE), id="canary off"
        ),
        pytest.param(
            Rollout(TWO, TWO, TWO, ONE), 0, [(TWO, 0, True), (ONE, 100, False)], Rollout(TWO, TWO, ONE, ONE),
            id="rolled back after it was rolled out",
        ),
        pytest.param(
            Rollout(THREE, TWO, TWO, ONE), None, [(TWO, 100, True)], Rollout(THREE, TWO, TWO, ONE),
            id="a roll-out that fails leaves the last one",
        ),
    ],
)  # fmt: skip
def test_traffic_follows_readiness_and_percent(rollout, percent, shares, after):
    split = plan_traffic(rollout, percent)

    assert split.rollout == after
    assert [share[:3] for share in split.shares] == shares


def test_tags_are_for_whoever_asks_for_them_and_for_the_previous_one_always():
    split = plan_traffic(Rollout(TWO, TWO, ONE), 25, has_tags=True)

    assert [share.tag for share in split.shares] == ["latest", "prev"]
    assert [share.tag for share in plan_traffic(Rollout(TWO, TWO, ONE), 25).shares] == ["", "prev"]


def test_what_neither_serves_nor_was_rolled_out_goes():
    split = plan_traffic(Rollout(THREE, THREE, TWO, ONE), None)

    assert kept_revisions([ONE, TWO, THREE], split.rollout, split.shares) == [TWO, THREE]


revisions = st.sampled_from(["", ONE, TWO, THREE])


@given(revisions, revisions, revisions, revisions, st.none() | st.integers(0, 100))
def test_all_traffic_goes_to_what_is_ready_or_was_rolled_out(created, ready, rolled_out, previous, percent):
    rollout = Rollout(created, ready, rolled_out, previous)

    split = plan_traffic(rollout, percent)

    assert sum(share.percent for share in split.shares) == (100 if ready else 0)
    assert {share.revision for share in split.shares} <= {ready, rolled_out, previous}
    assert plan_traffic(split.rollout, percent).shares == split.shares
