"""A pod that becomes available while it is looked at is looked at again: no moment falls between two readings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proa.controllers.daemonset.controller import DaemonSetController
from proa.controllers.replicaset import REPLICA_SET
from proa.controllers.statefulset import controller as statefulset
from proa.objects.resource import DAEMON_SETS, NODES, REPLICA_SETS, STATEFUL_SETS, Resource
from proa.reconcile.protocol import Key

CASES = [
    (REPLICA_SET, REPLICA_SETS, "availableReplicas"),
    (statefulset, STATEFUL_SETS, "availableReplicas"),
    (DaemonSetController(), DAEMON_SETS, "numberAvailable"),
]


@pytest.mark.parametrize(
    ("controller", "resource", "field"), CASES, ids=[resource.kind for _, resource, _ in CASES]
)
@pytest.mark.parametrize("before", [0.0005, 0.0015, 0.0025, 0.0035])
def test_the_moment_comes_between_two_readings_of_the_clock(
    world: Any, controller: Any, resource: Resource, field: str, before: float
) -> None:
    async def scenario() -> None:
        async with world([controller]) as w:
            w.client.add(NODES, {"metadata": {"name": "n"}, "spec": {}})
            labels = {"app": "web"}
            template = {"metadata": {"labels": labels}, "spec": {"containers": []}}
            spec = {"selector": {"matchLabels": labels}, "template": template, "minReadySeconds": 30}
            name = {"name": "web", "namespace": "default"}
            await w.client.create(resource, {"metadata": name, "spec": {"replicas": 1, **spec}}, "default")
            await w.settle()
            w.set_pod(w.pods()[0], node="n")
            await w.settle()
            w.advance(30 - before)
            w.tick = 0.001
            (runner,) = w.manager._runners
            result = await controller.reconcile(runner.context, Key("default", "web"))
            status = w.client.peek(resource, "web", "default")["status"]
            assert result.requeue_after > 0 or status[field] == 1

    asyncio.run(scenario())
