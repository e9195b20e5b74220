"""A quota's status says what its namespace uses."""

from __future__ import annotations

import asyncio
from typing import Any

from proa.controllers.resource_quota import CHARGE_SECONDS, Plan, ResourceQuotaController, plan
from proa.objects.resource import PODS, RESOURCE_QUOTAS, SERVICES

QUOTA = {"metadata": {"name": "q", "namespace": "lab"}, "spec": {"hard": {"pods": "2", "requests.cpu": "1"}}}


def make_pod(name: str, phase: str = "Running", cpu: str = "100m") -> dict[str, Any]:
    resources = {"requests": {"cpu": cpu}}
    return {
        "metadata": {"name": name, "namespace": "lab"},
        "spec": {"containers": [{"name": "c", "resources": resources}]},
        "status": {"phase": phase},
    }


def test_a_status_that_is_true_is_left_alone():
    status = {"hard": {"pods": "2", "requests.cpu": "1"}, "used": {"pods": "1", "requests.cpu": "0"}}
    assert plan({**QUOTA, "status": status}, {"pods": "1", "requests.cpu": "0"}, 0) == Plan()


def test_what_was_just_charged_is_not_taken_back_at_once():
    status = {"hard": {"pods": "2", "requests.cpu": "1"}, "used": {"pods": "1", "requests.cpu": "1"}}
    none = {"pods": "0", "requests.cpu": "0"}
    assert plan({**QUOTA, "status": status}, none, 0.25) == Plan(wait_seconds=CHARGE_SECONDS - 0.25)
    assert plan({**QUOTA, "status": status}, none, CHARGE_SECONDS).status == {**status, "used": none}


def test_it_follows_pods_that_come_end_and_go(world: Any) -> None:
    async def scenario() -> None:
        async with world([ResourceQuotaController()]) as w:
            w.client.add(RESOURCE_QUOTAS, QUOTA)
            await w.settle()
            for name in ("a", "b"):
                w.client.add(PODS, make_pod(name))
            w.client.add(PODS, make_pod("ended", "Succeeded", "500m"))
            await w.settle()
            status = (await w.client.get(RESOURCE_QUOTAS, "q", "lab"))["status"]
            assert status == {
                "hard": {"pods": "2", "requests.cpu": "1"},
                "used": {"pods": "2", "requests.cpu": "200m"},
            }
            w.time += CHARGE_SECONDS
            await w.client.delete(PODS, "a", "lab", grace_period_seconds=0)
            await w.settle()
            w.time += CHARGE_SECONDS
            await w.reconcile_all()
            status = (await w.client.get(RESOURCE_QUOTAS, "q", "lab"))["status"]
            assert status["used"] == {"pods": "1", "requests.cpu": "100m"}

    asyncio.run(scenario())


def test_services_are_counted_with_their_ports(world: Any) -> None:
    async def scenario() -> None:
        async with world([ResourceQuotaController()]) as w:
            hard = {"services": "2", "services.nodeports": "5", "services.loadbalancers": "1"}
            w.client.add(RESOURCE_QUOTAS, {**QUOTA, "spec": {"hard": hard}})
            spec = {"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}
            w.client.add(SERVICES, {"metadata": {"name": "s", "namespace": "lab"}, "spec": spec})
            await w.settle()
            status = (await w.client.get(RESOURCE_QUOTAS, "q", "lab"))["status"]
            assert status["used"] == {
                "services": "1",
                "services.nodeports": "2",
                "services.loadbalancers": "1",
            }

    asyncio.run(scenario())
