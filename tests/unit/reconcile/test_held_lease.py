from __future__ import annotations

import asyncio

import pytest

from proa.client.fake import FakeClient
from proa.client.protocol import Object
from proa.objects.meta import format_micro_time
from proa.objects.resource import LEASES
from proa.reconcile.held_lease import FOR_GOOD_SECONDS, LedElsewhere, hold_for_good, let_go
from proa.reconcile.leader_election import Lock, Seen, plan

NOW = 1_700_000_000.0
LOCK = Lock("work", "me")


def make_lease(holder: str, seconds: int, renewed_ago: float = 0.0) -> Object:
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": seconds,
        "renewTime": format_micro_time(NOW - renewed_ago),
        "leaseTransitions": 3,
    }
    return {"metadata": {"name": "work", "namespace": "kube-system"}, "spec": spec}


def hold(*leases: Object) -> tuple[FakeClient, Object]:
    async def main() -> tuple[FakeClient, Object]:
        client = FakeClient([(LEASES, lease) for lease in leases])
        await hold_for_good(client, LOCK, NOW)
        return client, (await client.get(LEASES, "work", "kube-system"))["spec"]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("leases", "transitions"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([make_lease("", 1)], 4, id="let-go"),
        pytest.param([make_lease("other", 15, 16)], 4, id="over"),
        pytest.param([make_lease("other", FOR_GOOD_SECONDS)], 4, id="of-an-earlier-cluster"),
    ],
)
def test_a_lease_is_held_for_good_and_nobody_else_takes_it(leases, transitions):
    _, spec = hold(*leases)
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("me", transitions)
    assert plan("other", Seen({"spec": spec}, 0), 15, 365 * 86400.0, NOW) is None


def test_a_lease_that_is_held_already_is_not_written_again():
    client, _ = hold(make_lease("me", FOR_GOOD_SECONDS))
    assert client.calls == []


def test_a_lease_that_somebody_renews_is_not_taken():
    with pytest.raises(LedElsewhere, match="other holds the lease kube-system/work, renewed 14 s ago"):
        hold(make_lease("other", 15, 14))


@pytest.mark.parametrize(
    ("lease", "left"),
    [
        pytest.param(make_lease("me", FOR_GOOD_SECONDS), "", id="held-for-good"),
        pytest.param(make_lease("other", 15), "other", id="contended-for"),
    ],
)
def test_only_what_was_held_for_good_is_let_go(lease, left):
    async def main() -> str:
        client = FakeClient([(LEASES, lease)])
        await let_go(client, LOCK, NOW)
        await let_go(client, Lock("none", "me"), NOW)
        spec = (await client.get(LEASES, "work", "kube-system"))["spec"]
        return str(spec["holderIdentity"])

    assert asyncio.run(main()) == left
