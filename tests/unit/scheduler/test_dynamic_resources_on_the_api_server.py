"""From a template to a pod that is bound and has its devices, with the real controllers and scheduler in process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from proa.objects import meta
from proa.objects.resource import (
    DEVICE_CLASSES,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SERVICE_ACCOUNTS,
)
from proa.objects.resource_claims import FINALIZER
from support.control_plane import Cluster, running

DRIVER = "gpu.example.com"
EXPRESSION = f'device.attributes["{DRIVER}"].model == "big"'
SPEC = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}


def make_pod(name: str, **entry: str) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i", "resources": {"claims": [{"name": "gpu"}]}}]
    claims = [{"name": "gpu", **(entry or {"resourceClaimTemplateName": "one-gpu"})}]
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": containers, "resourceClaims": claims},
    }


async def prepare(cluster: Cluster, **place: Any) -> None:
    """Two devices, one of which is of the class, on the node n2 (or where `place` says)."""
    await cluster.until(lambda: cluster.has(SERVICE_ACCOUNTS, "default"))
    devices = [{"name": name, "attributes": {"model": {"string": name}}} for name in ("small", "big")]
    pool = {"name": "n2", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "pool": pool, "devices": devices, **(place or {"nodeName": "n2"})}
    await cluster.client.create(RESOURCE_SLICES, {"metadata": {"name": "slice"}, "spec": spec})
    selectors = [{"cel": {"expression": EXPRESSION}}]
    await cluster.client.create(
        DEVICE_CLASSES, {"metadata": {"name": "gpu"}, "spec": {"selectors": selectors}}
    )
    template = {"metadata": {"name": "one-gpu", "namespace": "default"}, "spec": {"spec": SPEC}}
    await cluster.client.create(RESOURCE_CLAIM_TEMPLATES, template, "default")


async def node_of(cluster: Cluster, name: str) -> str:
    pod = await cluster.client.get(PODS, name, "default")
    return str(pod["spec"].get("nodeName") or "")


async def why_not(cluster: Cluster, name: str) -> str:
    pod = await cluster.client.get(PODS, name, "default")
    condition = meta.find_condition(pod, "PodScheduled") or {}
    return str(condition.get("message") or "")


def test_a_pod_gets_its_device_and_the_next_one_gets_it_when_the_first_has_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, schedules=("n1", "n2")) as cluster:
            await prepare(cluster)
            await cluster.client.create(PODS, make_pod("first"), "default")
            await cluster.until(lambda: node_of(cluster, "first"))
            assert await node_of(cluster, "first") == "n2"
            (claim,) = await cluster.all(RESOURCE_CLAIMS)
            assert meta.name(claim).startswith("first-gpu-")
            results = claim["status"]["allocation"]["devices"]["results"]
            assert results == [{"request": "gpu", "driver": DRIVER, "pool": "n2", "device": "big"}]
            assert [each["name"] for each in claim["status"]["reservedFor"]] == ["first"]
            assert FINALIZER in meta.finalizers(claim)

            await cluster.client.create(PODS, make_pod("second"), "default")
            await cluster.until(lambda: why_not(cluster, "second"))
            message = (
                "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: "
            )
            assert (await why_not(cluster, "second")).startswith(message)
            await cluster.client.delete(PODS, "first", "default", grace_period_seconds=0)
            await cluster.until(lambda: node_of(cluster, "second"))
            (claim,) = await cluster.all(RESOURCE_CLAIMS)
            assert [each["name"] for each in claim["status"]["reservedFor"]] == ["second"]

    asyncio.run(scenario())


def test_pods_share_a_claim_and_it_is_free_when_the_last_has_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, schedules=("n1", "n2")) as cluster:
            await prepare(cluster)
            for name in ("one", "two"):
                await cluster.client.create(PODS, make_pod(name, resourceClaimName="shared"), "default")
            await cluster.until(lambda: why_not(cluster, "two"))
            assert 'resourceclaim "shared" not found' in await why_not(cluster, "two")
            shared = {"metadata": {"name": "shared", "namespace": "default"}, "spec": SPEC}
            await cluster.client.create(RESOURCE_CLAIMS, shared, "default")
            for name in ("one", "two"):
                await cluster.until(lambda name=name: node_of(cluster, name))
                assert await node_of(cluster, name) == "n2"
            for name in ("one", "two"):
                await cluster.client.delete(PODS, name, "default", grace_period_seconds=0)

            async def is_free() -> bool:
                claim = await cluster.client.get(RESOURCE_CLAIMS, "shared", "default")
                return not claim.get("status") and not meta.finalizers(claim)

            await cluster.until(is_free)

    asyncio.run(scenario())


def test_a_claim_whose_node_takes_no_pods_is_freed_and_had_elsewhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, schedules=("n1", "n2")) as cluster:
            await prepare(cluster, allNodes=True)
            held = {"request": "gpu", "driver": DRIVER, "pool": "n2", "device": "big"}
            field = {"key": "metadata.name", "operator": "In", "values": ["n3"]}
            selector = {"nodeSelectorTerms": [{"matchFields": [field]}]}
            shared = {"metadata": {"name": "shared", "namespace": "default"}, "spec": SPEC}
            claim = await cluster.client.create(RESOURCE_CLAIMS, shared, "default")
            status = {"allocation": {"devices": {"results": [held]}, "nodeSelector": selector}}
            await cluster.client.update(RESOURCE_CLAIMS, {**claim, "status": status}, "status")
            await cluster.client.create(PODS, make_pod("one", resourceClaimName="shared"), "default")
            await cluster.until(lambda: node_of(cluster, "one"))
            claim = await cluster.client.get(RESOURCE_CLAIMS, "shared", "default")
            assert "nodeSelector" not in claim["status"]["allocation"]

    asyncio.run(scenario())
