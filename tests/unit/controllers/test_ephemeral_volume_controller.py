"""Ephemeral volumes have claims, against a fake API with the real manager."""

from __future__ import annotations

import asyncio
from typing import Any

from proa.controllers import ephemeral_volume
from proa.objects import meta
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PODS

TEMPLATE = {
    "metadata": {"labels": {"type": "scratch"}, "annotations": {"note": "x"}},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def make_pod(name: str = "p") -> dict[str, Any]:
    volumes = [
        {"name": "plain", "emptyDir": {}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": TEMPLATE}},
    ]
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"volumes": volumes}}


def run(world: Any, scenario: Any) -> None:
    async def all_of_it() -> None:
        async with world([ephemeral_volume]) as w:
            await scenario(w)

    asyncio.run(all_of_it())


def test_a_claim_is_made_of_the_template_and_owned_by_the_pod(world: Any) -> None:
    async def scenario(w: Any) -> None:
        pod = w.client.add(PODS, make_pod())
        await w.settle()
        (claim,) = w.client.all(PERSISTENT_VOLUME_CLAIMS)
        assert meta.name(claim) == "p-scratch"
        assert (meta.labels(claim), meta.annotations(claim)) == ({"type": "scratch"}, {"note": "x"})
        assert claim["spec"] == TEMPLATE["spec"]
        assert meta.is_controlled_by(claim, pod)
        calls = len(w.client.calls)
        await w.reconcile_all()
        assert w.client.calls[calls:] == []
        await w.client.delete(PERSISTENT_VOLUME_CLAIMS, "p-scratch", "default")
        await w.settle()
        assert len(w.client.all(PERSISTENT_VOLUME_CLAIMS)) == 1  # made again

    run(world, scenario)


def test_a_claim_that_is_anothers_is_told_of(world: Any) -> None:
    async def scenario(w: Any) -> None:
        w.client.add(
            PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "p-scratch", "namespace": "default"}, "spec": {}}
        )
        w.client.add(PODS, make_pod())
        await w.settle()
        why = "PVC default/p-scratch was not created for pod default/p (pod is not owner)"
        assert ("Warning", "FailedBinding", f"ephemeral volume scratch: {why}") in w.events

    run(world, scenario)


def test_a_pod_that_is_going_gets_no_claim(world: Any) -> None:
    async def scenario(w: Any) -> None:
        pod = make_pod()
        pod["metadata"] |= {"deletionTimestamp": "2025-01-01T00:00:00Z", "finalizers": ["x.io/y"]}
        w.client.add(PODS, pod)
        await w.settle()
        assert w.client.all(PERSISTENT_VOLUME_CLAIMS) == []

    run(world, scenario)
