"""Disruption budgets and evictions together, on the real API server, with a kubelet that only writes status."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import TooManyRequests
from proa.objects.pods import is_ready
from proa.objects.resource import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    SERVICE_ACCOUNTS,
    Resource,
)
from support.control_plane import Cluster, running

LABELS = {"app": "web"}
POD = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}


def make_budget(**spec: Any) -> Object:
    metadata = {"name": "web", "namespace": "default"}
    return {"metadata": metadata, "spec": {"selector": {"matchLabels": LABELS}, **spec}}


async def numbers(c: Cluster) -> tuple[int, ...]:
    status = (await c.client.get(POD_DISRUPTION_BUDGETS, "web", "default"))["status"]
    keys = ("expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed")
    return tuple(status[key] for key in keys)


async def has_numbers(c: Cluster, *expected: int) -> bool:
    return await numbers(c) == expected


async def evict(c: Cluster, name: str) -> bool:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    try:
        await c.client.create_subresource(PODS, name, "eviction", body, "default")
    except TooManyRequests as refusal:
        (cause,) = refusal.details["causes"]
        assert cause["reason"] == "DisruptionBudget"
        return False
    return True


def test_evictions_all_at_once_never_take_more_than_the_budget(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as c:
            await c.until(lambda: c.has(SERVICE_ACCOUNTS, "default"))
            spec = {"replicas": 10, "selector": {"matchLabels": LABELS}, "template": POD}
            await c.client.create(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": spec}, "default")
            await c.client.create(POD_DISRUPTION_BUDGETS, make_budget(maxUnavailable=3), "default")
            await c.until(lambda: has_numbers(c, 10, 7, 10, 3))
            c.kubelet.makes_ready = False
            names = [meta.name(pod) for pod in await c.all(PODS)]
            let_go = await asyncio.gather(*(evict(c, name) for name in names))
            assert sum(let_go) == 3
            ready = [pod for pod in await c.all(PODS) if is_ready(pod) and not meta.is_deleting(pod)]
            assert len(ready) == 7
            await c.until(lambda: has_numbers(c, 10, 7, 7, 0))
            c.kubelet.makes_ready = True
            for pod in await c.all(PODS):
                await c.client.patch(
                    PODS, meta.name(pod), {"metadata": {"labels": {"look": "again"}}}, "default"
                )
            await c.until(lambda: has_numbers(c, 10, 7, 10, 3))
            status = (await c.client.get(POD_DISRUPTION_BUDGETS, "web", "default"))["status"]
            assert "disruptedPods" not in status

    asyncio.run(scenario())


FLEETS = Resource("example.com", "v1", "fleets", "Fleet")


def make_definition() -> Object:
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": scale},
    }
    names = {"plural": "fleets", "singular": "fleet", "kind": "Fleet", "listKind": "FleetList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "fleets.example.com"}, "spec": spec}


def test_a_custom_controller_is_asked_for_its_scale(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as c:
            await c.until(lambda: c.has(SERVICE_ACCOUNTS, "default"))
            await c.client.create(CUSTOM_RESOURCE_DEFINITIONS, make_definition())
            fleet = {"apiVersion": "example.com/v1", "kind": "Fleet", "metadata": {"name": "f"}}
            made = await c.client.create(FLEETS, {**fleet, "spec": {"replicas": 4}}, "default")
            owners = [meta.make_owner_reference(made, FLEETS)]
            for i in range(3):
                metadata = {"name": f"f-{i}", "labels": LABELS, "ownerReferences": owners}
                await c.client.create(PODS, {**POD, "metadata": metadata}, "default")
            await c.client.create(POD_DISRUPTION_BUDGETS, make_budget(minAvailable="50%"), "default")
            await c.until(lambda: has_numbers(c, 4, 2, 3, 1))

    asyncio.run(scenario())


def test_a_job_cannot_be_scaled(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as c:
            await c.until(lambda: c.has(SERVICE_ACCOUNTS, "default"))
            owners = [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": True},
            ]
            metadata = {"name": "j", "labels": LABELS, "ownerReferences": owners, "finalizers": ["x.io/keep"]}
            await c.client.create(PODS, {**POD, "metadata": metadata}, "default")
            await c.client.create(POD_DISRUPTION_BUDGETS, make_budget(maxUnavailable=1), "default")

            async def why() -> str:
                found = await c.client.get(POD_DISRUPTION_BUDGETS, "web", "default")
                condition = meta.find_condition(found, "DisruptionAllowed") or {}
                return str(condition.get("message"))

            async def is_told() -> bool:
                return await why() == "jobs.batch does not implement the scale subresource"

            await c.until(is_told)

    asyncio.run(scenario())
