"""Decide which revision gets how much of a component's traffic, and which are the last ones rolled out. Pure.

The latest that is ready gets `canaryTrafficPercent`, the last one that was rolled out the rest; without the field the
latest that is ready gets all, and so is rolled out. Less than all for the one that was rolled out takes it back: the
one before it gets the rest. What is not ready never gets anything.
Source: KServe's pkg/controller/v1beta1/inferenceservice/reconcilers/knative/ksvc_reconciler.go (targets) and
PropagateStatus of pkg/apis/serving/v1beta1/inference_service_status.go (roll-outs).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from proa.ml.serving.records import Share
from proa.ml.serving.revisions.names import number_of

LATEST_TAG, PREVIOUS_TAG = "latest", "prev"


class Rollout(NamedTuple):
    """What a component's status tells of its revisions; "" for none."""

    created: str = ""
    ready: str = ""
    rolled_out: str = ""
    previous: str = ""


class Split(NamedTuple):
    """Who gets what, and the roll-outs that this makes."""

    rollout: Rollout
    shares: tuple[Share, ...]


def plan_traffic(rollout: Rollout, percent: int | None, *, has_tags: bool = False) -> Split:
    """Return the traffic of a component whose latest revisions are `created` and `ready`."""
    shares = _shares(rollout, percent, has_tags)
    after = _rolled_out(rollout, shares)
    if after != rollout:
        shares = _shares(after, percent, has_tags)
    return Split(after, shares)


def kept_revisions(names: Iterable[str], rollout: Rollout, shares: Collection[Share]) -> list[str]:
    """Return which of these revisions stay, the oldest first."""
    wanted = {*rollout, *(share.revision for share in shares)}
    return sorted((name for name in names if name in wanted), key=number_of)


def _shares(rollout: Rollout, percent: int | None, has_tags: bool) -> tuple[Share, ...]:
    if not rollout.ready:
        return ()
    tag = LATEST_TAG if has_tags else ""
    if percent is None or not rollout.rolled_out:
        return (Share(rollout.ready, 100, True, tag),)
    latest = Share(rollout.ready, percent, True, tag)
    if percent >= 100:
        return (latest,)
    return (latest, Share(rollout.rolled_out, 100 - percent, False, PREVIOUS_TAG))


def _rolled_out(rollout: Rollout, shares: tuple[Share, ...]) -> Rollout:
    """Return the roll-outs once traffic is as the shares say."""
    if not shares:
        return rollout
    latest = shares[0]
    if rollout.rolled_out != rollout.ready:
        if latest.percent == 100:
            return rollout._replace(previous=rollout.rolled_out, rolled_out=rollout.ready)
    elif rollout.ready == rollout.created and latest.percent < 100 and rollout.previous:
        return rollout._replace(rolled_out=rollout.previous)
    return rollout
