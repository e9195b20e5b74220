"""A claim that comes to ask for more is given it, and never less."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proa.controllers.local_path.expansion import Expansion, plan_expansion
from proa.objects.errors import Forbidden, Invalid
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from support.control_plane import Cluster, running


def claim(wanted: str, had: str, phase: str = "Bound", conditions: Any = None) -> dict[str, Any]:
    status = {"phase": phase, "capacity": {"storage": had}}
    return {
        "spec": {"resources": {"requests": {"storage": wanted}}},
        "status": {**status, "conditions": conditions} if conditions else status,
    }


def volume(size: str) -> dict[str, Any]:
    return {"spec": {"capacity": {"storage": size}}}


@pytest.mark.parametrize(
    ("asked", "size", "expected"),
    [
        pytest.param(claim("1Gi", "1Gi"), "1Gi", Expansion(), id="it has what it asks for"),
        pytest.param(claim("1Gi", "1024Mi"), "1Gi", Expansion(), id="in other words"),
        pytest.param(claim("2Gi", "1Gi", "Pending"), "1Gi", Expansion(), id="not bound"),
        pytest.param(claim("1Gi", "2Gi"), "2Gi", Expansion(), id="nothing gets smaller"),
        pytest.param(
            claim("2Gi", "1Gi"),
            "1Gi",
            Expansion("2Gi", {"capacity": {"storage": "2Gi"}, "conditions": None}),
            id="more",
        ),
        pytest.param(
            claim("2Gi", "1Gi", conditions=[{"type": "Resizing"}, {"type": "Other"}]),
            "2Gi",
            Expansion("", {"capacity": {"storage": "2Gi"}, "conditions": [{"type": "Other"}]}),
            id="the volume is large enough already",
        ),
    ],
)
def test_what_is_decided(asked: dict[str, Any], size: str, expected: Expansion) -> None:
    assert plan_expansion(asked, volume(size)) == expected


def test_a_bound_claim_grows_and_does_not_shrink(tmp_path: Path) -> None:
    async def body() -> None:
        async with running(tmp_path) as c:
            await begin(c)
            bound = await c.until(lambda: is_bound(c, "1Gi"))
            await resize(c, "3Gi")
            await c.until(lambda: is_bound(c, "3Gi"))
            found = await c.client.get(PERSISTENT_VOLUMES, bound["spec"]["volumeName"])
            assert found["spec"]["capacity"] == {"storage": "3Gi"}
            with pytest.raises((Forbidden, Invalid)):
                await resize(c, "2Gi")

    asyncio.run(body())


async def begin(c: Cluster) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await c.client.create(
        PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "data", "namespace": "default"}, "spec": spec}
    )
    chosen = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "proa-1"}}}
    await c.client.patch(PERSISTENT_VOLUME_CLAIMS, "data", chosen, "default")
    assert await c.all(PODS) == []


async def resize(c: Cluster, size: str) -> None:
    patch = {"spec": {"resources": {"requests": {"storage": size}}}}
    await c.client.patch(PERSISTENT_VOLUME_CLAIMS, "data", patch, "default")


async def is_bound(c: Cluster, size: str) -> Any:
    found = await c.client.get(PERSISTENT_VOLUME_CLAIMS, "data", "default")
    status = found.get("status") or {}
    return found if (status.get("capacity") or {}).get("storage") == size else None
