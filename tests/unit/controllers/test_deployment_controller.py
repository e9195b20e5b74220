"""A Deployment rolled out against a fake API with the real manager, deployment and replicaset controllers."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import pytest

from proa.controllers import replicaset
from proa.controllers.deployment import controller as deployment
from proa.controllers.deployment import rollout
from proa.objects import meta
from proa.objects.errors import Forbidden
from proa.objects.pods import is_active, is_ready
from proa.objects.resource import DEPLOYMENTS, PODS, REPLICA_SETS

CONTROLLERS = (deployment, replicaset.REPLICA_SET)


def make_deployment(replicas: int = 3, image: str = "web:1", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            "template": make_template(image),
            **spec,
        },
    }


def make_template(image: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}]},
    }


async def apply(w: Any, **spec: Any) -> None:
    existing = w.client.peek(DEPLOYMENTS, "web", "default")
    await w.client.update(DEPLOYMENTS, {**existing, "spec": {**existing["spec"], **spec}})
    await w.settle()


async def make_all_ready(w: Any) -> None:
    for _ in range(50):
        waiting = [pod for pod in w.pods() if is_active(pod) and not is_ready(pod)]
        if not waiting:
            return
        for pod in waiting:
            w.set_pod(pod, node="n")
        for pod in w.pods():
            if meta.is_deleting(pod):
                await w.client.delete(PODS, meta.name(pod), "default", grace_period_seconds=0)
        await w.settle()
    raise AssertionError("pods keep coming")


def sizes(w: Any) -> dict[str, int]:
    return {
        rs["spec"]["template"]["spec"]["containers"][0]["image"]: rs["spec"]["replicas"]
        for rs in w.client.all(REPLICA_SETS)
    }


def status(w: Any) -> dict[str, Any]:
    found = dict(w.client.peek(DEPLOYMENTS, "web", "default")["status"])
    found.pop("conditions")
    return found


def test_a_deployment_becomes_pods_and_tells_of_it(world: Any) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            await w.client.create(DEPLOYMENTS, make_deployment(), "default")
            await w.settle()
            assert len(w.pods()) == 3
            name = w.client.all(REPLICA_SETS)[0]["metadata"]["name"]
            assert ("Normal", "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to 3") in w.events
            assert w.conditions(DEPLOYMENTS, "web") == {
                "Progressing": ("True", "ReplicaSetUpdated"),
                "Available": ("False", "MinimumReplicasUnavailable"),
            }
            await make_all_ready(w)
            assert w.conditions(DEPLOYMENTS, "web") == {
                "Available": ("True", "MinimumReplicasAvailable"),
                "Progressing": ("True", "NewReplicaSetAvailable"),
            }
            assert status(w) == {
                "observedGeneration": 1,
                "replicas": 3,
                "updatedReplicas": 3,
                "readyReplicas": 3,
                "availableReplicas": 3,
                "terminatingReplicas": 0,
            }
            assert (
                meta.annotations(w.client.peek(DEPLOYMENTS, "web", "default"))[
                    "deployment.kubernetes.io/revision"
                ]
                == "1"
            )

    asyncio.run(scenario())


def test_reconciling_again_changes_nothing(world: Any) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            await w.client.create(DEPLOYMENTS, make_deployment(), "default")
            await w.settle()
            await make_all_ready(w)
            calls = len(w.client.calls)
            await w.reconcile_all()
            assert w.client.calls[calls:] == []

    asyncio.run(scenario())


def test_200_replicas_make_exactly_200_pods(world: Any) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            await w.client.create(DEPLOYMENTS, make_deployment(replicas=200), "default")
            await w.settle()
            created = [call for call in w.client.calls if call.verb == "create" and call.resource == PODS]
            assert len(created) == len(w.pods()) == 200

    asyncio.run(scenario())


def test_undoing_a_rollout_finds_the_old_replica_set_again(world: Any) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            await w.client.create(DEPLOYMENTS, make_deployment(), "default")
            await w.settle()
            await make_all_ready(w)
            await apply(w, template=make_template("web:2"))
            await make_all_ready(w)
            assert sizes(w) == {"web:1": 0, "web:2": 3}
            await apply(w, template=make_template("web:1"))
            await make_all_ready(w)
            assert sizes(w) == {"web:1": 3, "web:2": 0}
            notes = {
                rs["spec"]["template"]["spec"]["containers"][0]["image"]: meta.annotations(rs)
                for rs in w.client.all(REPLICA_SETS)
            }
            assert notes["web:1"]["deployment.kubernetes.io/revision"] == "3"
            assert notes["web:1"]["deployment.kubernetes.io/revision-history"] == "1"
            assert notes["web:2"]["deployment.kubernetes.io/revision"] == "2"

    asyncio.run(scenario())


def test_old_replica_sets_beyond_the_history_limit_go(world: Any) -> None:
    """[sig-apps] Deployment deployment should delete old replica sets [Conformance]"""

    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            await w.client.create(DEPLOYMENTS, make_deployment(revisionHistoryLimit=1), "default")
            await w.settle()
            for version in (2, 3, 4):
                await make_all_ready(w)
                await apply(w, template=make_template(f"web:{version}"))
            await make_all_ready(w)
            assert sizes(w) == {"web:3": 0, "web:4": 3}

    asyncio.run(scenario())


def test_recreate_waits_until_the_last_old_pod_has_gone(world: Any) -> None:
    """[sig-apps] Deployment RecreateDeployment should delete old pods and create new ones [Conformance]"""

    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            body = make_deployment(strategy={"type": "Recreate"})
            await w.client.create(DEPLOYMENTS, body, "default")
            await w.settle()
            for pod in w.pods():
                w.set_pod(pod, node="proa-1")
            await w.settle()
            await apply(w, template=make_template("web:2"))
            assert sizes(w) == {"web:1": 0}
            assert [meta.is_deleting(pod) for pod in w.pods()] == [True] * 3
            for pod in w.pods():
                await w.client.delete(PODS, meta.name(pod), "default", grace_period_seconds=0)
            await w.settle()
            assert sizes(w) == {"web:1": 0, "web:2": 3}

    asyncio.run(scenario())


def test_a_paused_deployment_scales_and_does_not_roll(world: Any) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            await w.client.create(DEPLOYMENTS, make_deployment(), "default")
            await w.settle()
            await make_all_ready(w)
            await apply(w, paused=True, template=make_template("web:2"), replicas=5)
            assert sizes(w) == {"web:1": 5}
            assert w.conditions(DEPLOYMENTS, "web")["Progressing"] == ("Unknown", "DeploymentPaused")
            await apply(w, paused=False)
            await make_all_ready(w)
            assert sizes(w) == {"web:1": 0, "web:2": 5}
            assert w.conditions(DEPLOYMENTS, "web")["Progressing"] == ("True", "NewReplicaSetAvailable")

    asyncio.run(scenario())


def test_a_rollout_without_progress_times_out(world: Any) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            await w.client.create(DEPLOYMENTS, make_deployment(progressDeadlineSeconds=30), "default")
            await w.settle()
            w.advance(32)
            await w.reconcile_all()
            assert w.conditions(DEPLOYMENTS, "web")["Progressing"] == ("False", "ProgressDeadlineExceeded")

    asyncio.run(scenario())


def test_scaling_amid_a_rollout_is_shared_out_in_proportion(world: Any) -> None:
    """[sig-apps] Deployment deployment should support proportional scaling [Conformance]"""

    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
            await w.client.create(DEPLOYMENTS, make_deployment(replicas=10, strategy=strategy), "default")
            await w.settle()
            await make_all_ready(w)
            await apply(w, template=make_template("broken"))
            assert sizes(w) == {"web:1": 8, "broken": 5}
            await apply(w, replicas=15)
            assert sizes(w) == {"web:1": 11, "broken": 7}

    asyncio.run(scenario())


def test_a_refused_replica_set_is_told_and_tried_again(world: Any) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            w.client.fail_next(Forbidden("exceeded quota"), "create", REPLICA_SETS)
            await w.client.create(DEPLOYMENTS, make_deployment(), "default")
            await w.settle()
            (event,) = (event for event in w.events if event[1] == "ReplicaSetCreateError")
            assert re.fullmatch(r'Failed to create new replica set "web-\w+": exceeded quota', event[2])
            for _ in range(20):
                await w.reconcile_all()
            assert sizes(w) == {"web:1": 3}

    asyncio.run(scenario())


ROLLBACKS = [
    ("the one before", "0", "web:2", ("Normal", "DeploymentRollback"), "to revision 2"),
    ("a revision", "1", "web:1", ("Normal", "DeploymentRollback"), "to revision 1"),
    (
        "one that is not there",
        "7",
        "web:3",
        ("Warning", "DeploymentRollbackRevisionNotFound"),
        "Unable to find",
    ),
    (
        "the present one",
        "3",
        "web:3",
        ("Warning", "DeploymentRollbackTemplateUnchanged"),
        "the same template",
    ),
]


@pytest.mark.parametrize(
    ("_name", "asked", "image", "kind", "words"), ROLLBACKS, ids=[case[0] for case in ROLLBACKS]
)
def test_an_annotation_asks_for_an_older_revision(
    world: Any, _name: str, asked: str, image: str, kind: tuple[str, str], words: str
) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            await w.client.create(DEPLOYMENTS, make_deployment(), "default")
            await w.settle()
            for version in (2, 3):
                await apply(w, template=make_template(f"web:{version}"))
            patch = {"metadata": {"annotations": {"deprecated.deployment.rollback.to": asked}}}
            await w.client.patch(DEPLOYMENTS, "web", patch, "default")
            await w.settle()
            found = w.client.peek(DEPLOYMENTS, "web", "default")
            assert found["spec"]["template"] == make_template(image)
            assert "deprecated.deployment.rollback.to" not in meta.annotations(found)
            (event,) = (event for event in w.events if event[:2] == kind)
            assert words in event[2]

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(12))
def test_bounds_are_kept_whatever_is_asked_for_amid_a_rollout(world: Any, seed: int) -> None:
    """Templates, sizes, strategies and pauses change while pods become ready, unready, fail and go slowly.

    No step of the controllers makes more pods than maxSurge allows, or fewer available than maxUnavailable; but
    that a new size amid a rollout, or what is too many when it is paused, is shared out in proportion, as upstream
    does, whoever is available.
    """
    chance = random.Random(seed)
    spec: dict[str, Any] = {"replicas": 4, "template": make_template("web:1"), "paused": False}

    def available(w: Any) -> int:
        return sum(is_active(pod) and is_ready(pod) for pod in w.pods())

    async def ask(w: Any) -> None:
        if chance.random() < 0.3:
            spec["replicas"] = chance.randrange(9)
        elif chance.random() < 0.3:
            surge = chance.choice([0, 1, 2, "25%", "100%"])
            unavailable = chance.choice([0, 1, "25%", "50%"])
            given = {"maxSurge": surge, "maxUnavailable": unavailable}
            spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": given}
        elif chance.random() < 0.2:
            spec["paused"] = not spec["paused"]
        else:
            spec["template"] = make_template(f"web:{chance.randrange(4)}")
        await apply(w, **spec)

    async def happen(w: Any) -> None:
        pods = w.pods()
        if not pods:
            return
        pod = chance.choice(pods)
        if meta.is_deleting(pod):
            await w.client.delete(PODS, meta.name(pod), "default", grace_period_seconds=0)
        elif is_active(pod):
            ready = chance.random() < 0.8
            w.set_pod(
                pod, ready=ready, phase="Running" if ready else chance.choice(["Running", "Failed"]), node="n"
            )
        await w.settle()

    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            await w.client.create(DEPLOYMENTS, make_deployment(4), "default")
            await w.settle()
            await make_all_ready(w)
            for _ in range(60):
                asks = chance.random() < 0.25
                before = sum(map(is_active, w.pods())), available(w)
                size, rolling = spec["replicas"], sum(map(bool, sizes(w).values())) > 1
                await (ask(w) if asks else happen(w))
                is_shared_out = rolling and (size != spec["replicas"] or spec["paused"])
                bounds = rollout.bounds_of(w.client.peek(DEPLOYMENTS, "web", "default"))
                assert sum(map(is_active, w.pods())) <= max(bounds.most, before[0])
                if asks and not is_shared_out:
                    assert available(w) >= min(before[1], bounds.least_available)
            await apply(w, **{**spec, "paused": False})
            await make_all_ready(w)
            image = spec["template"]["spec"]["containers"][0]["image"]
            left = {name: size for name, size in sizes(w).items() if size}
            assert left == ({image: spec["replicas"]} if spec["replicas"] else {})
            assert w.conditions(DEPLOYMENTS, "web")["Progressing"] == ("True", "NewReplicaSetAvailable")

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(24))
def test_a_rollout_keeps_its_bounds_whatever_becomes_of_the_pods(world: Any, seed: int) -> None:
    """Pods become ready, unready and fail in random order: the controllers never make it worse, and it converges."""
    chance = random.Random(seed)
    replicas = chance.randint(1, 9)
    given = {"maxSurge": chance.choice([0, 1, "25%", "100%"]), "maxUnavailable": chance.choice([0, 1, "25%"])}
    strategy = {"type": "RollingUpdate", "rollingUpdate": given}
    mishaps = chance.randint(0, 6)

    def available(w: Any) -> int:
        return sum(is_active(pod) and is_ready(pod) for pod in w.pods())

    def something_happens(w: Any) -> bool:
        nonlocal mishaps
        active = [pod for pod in w.pods() if is_active(pod)]
        waiting = [pod for pod in active if not is_ready(pod)]
        ready = [pod for pod in active if is_ready(pod)]
        if mishaps and ready and chance.random() < 0.3:
            mishaps -= 1
            phase = chance.choice(["Running", "Failed"])
            w.set_pod(chance.choice(ready), phase=phase, ready=False, node="n")
            return True
        if waiting:
            w.set_pod(chance.choice(waiting), node="n")
        return bool(waiting)

    async def scenario() -> None:
        async with world(CONTROLLERS) as w:
            body = make_deployment(replicas, strategy=strategy)
            bounds = rollout.bounds_of(body)
            await w.client.create(DEPLOYMENTS, body, "default")
            await w.settle()
            await make_all_ready(w)
            await apply(w, template=make_template("web:2"))
            assert available(w) >= bounds.least_available
            while something_happens(w):
                before = available(w)
                await w.settle()
                assert sum(map(is_active, w.pods())) <= bounds.most
                assert available(w) >= min(before, bounds.least_available)
            assert sizes(w) == {"web:1": 0, "web:2": replicas}
            assert w.conditions(DEPLOYMENTS, "web")["Progressing"] == ("True", "NewReplicaSetAvailable")

    asyncio.run(scenario())
