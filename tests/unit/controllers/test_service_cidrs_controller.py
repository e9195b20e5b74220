"""Ranges of ClusterIPs come and go; none goes while a Service has an address of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proa.client.protocol import Object
from proa.controllers import service_cidrs
from proa.controllers.service_cidrs import FINALIZER, IN_USE, READY, Plan, plan
from proa.objects.errors import Invalid
from proa.objects.meta import find_condition, format_time
from proa.objects.resource import SERVICE_CIDRS, SERVICES
from support.control_plane import Cluster, running

NOW = 1_000_000.0


def cidr(*networks: str, name: str = "more", deleted: float | None = None, mine: bool = True) -> Object:
    metadata: dict[str, Any] = {"name": name, "finalizers": ["other", FINALIZER] if mine else ["other"]}
    if deleted is not None:
        metadata["deletionTimestamp"] = format_time(NOW - deleted)
    return {"metadata": metadata, "spec": {"cidrs": list(networks)}}


KEPT = ("other", FINALIZER)


@pytest.mark.parametrize(
    ("mine", "others", "addresses", "expected"),
    [
        pytest.param(
            cidr("10.0.0.0/24", mine=False), [], [], Plan(KEPT, READY), id="a new one is held and ready"
        ),
        pytest.param(cidr("10.0.0.0/24"), [], [], Plan(KEPT, READY), id="and stays so"),
        pytest.param(
            cidr("10.0.0.0/24", deleted=60), [], ["10.0.0.5"], Plan(KEPT, IN_USE), id="it is in use"
        ),
        pytest.param(
            cidr("10.0.0.0/24", "2001:db8::/112", deleted=60),
            [],
            ["2001:db8::5"],
            Plan(KEPT, IN_USE),
            id="by IPv6",
        ),
        pytest.param(
            cidr("10.0.0.0/24", deleted=60),
            [cidr("10.0.0.0/16", name="wide")],
            ["10.0.0.5"],
            Plan(("other",)),
            id="another one has its addresses",
        ),
        pytest.param(
            cidr("10.0.0.0/24", deleted=60),
            [cidr("10.0.0.0/16", name="wide", deleted=5)],
            ["10.0.0.5"],
            Plan(KEPT, IN_USE),
            id="which goes too",
        ),
        pytest.param(
            cidr("10.0.0.0/24", deleted=60), [], ["10.1.0.5"], Plan(("other",)), id="nothing of it is used"
        ),
        pytest.param(cidr("10.0.0.0/24", deleted=4), [], [], Plan(KEPT, wait_seconds=6.0), id="not at once"),
        pytest.param(cidr("10.0.0.0/24", deleted=60, mine=False), [], [], Plan(("other",)), id="it is done"),
    ],
)
def test_what_is_decided(mine: Object, others: list[Object], addresses: list[str], expected: Plan) -> None:
    assert plan(mine, others, addresses, NOW) == expected


def service(name: str, address: str) -> Object:
    spec = {"clusterIP": address, "ports": [{"port": 80}]}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def condition(c: Cluster, name: str) -> tuple[str, str]:
    found = await c.client.get(SERVICE_CIDRS, name)
    said = find_condition(found, "Ready") or {}
    return said.get("status", ""), said.get("reason", "")


def test_services_get_addresses_of_a_range_that_was_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_cidrs, "GRACE_SECONDS", 0.01)

    async def body() -> None:
        async with running(tmp_path) as c:
            with pytest.raises(Invalid, match=r"The range of valid IPs is 10\.96\.0\.0/16$"):
                await c.client.create(SERVICES, service("early", "10.200.0.9"))
            await c.client.create(
                SERVICE_CIDRS, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.200.0.0/24"]}}
            )

            async def ready() -> bool:
                return await condition(c, "more") == ("True", "")

            await c.until(ready)
            await c.client.create(SERVICES, service("late", "10.200.0.9"))
            with pytest.raises(Invalid, match=r"10\.96\.0\.0/16, 10\.200\.0\.0/24$"):
                await c.client.create(SERVICES, service("astray", "10.201.0.9"))

            await c.client.delete(SERVICE_CIDRS, "more")

            async def terminating() -> bool:
                return await condition(c, "more") == ("False", "Terminating")

            await c.until(terminating)
            with pytest.raises(Invalid, match="not in the valid range"):
                await c.client.create(SERVICES, service("too-late", "10.200.0.10"))
            await c.client.delete(SERVICES, "late", "default")
            await c.until(lambda: c.is_gone(SERVICE_CIDRS, "more", None))

    asyncio.run(body())
