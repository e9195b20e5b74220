"""All controllers together against the real API server in process, with a kubelet that only writes status."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.errors import Conflict, NotFound
from proa.objects.pods import is_active, is_ready
from proa.objects.resource import (
    CONFIG_MAPS,
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    JOBS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICE_ACCOUNTS,
    SERVICES,
    STATEFUL_SETS,
)
from support.control_plane import NODE, Cluster, running


def template(labels: dict[str, str], image: str = "web:1", **spec: Any) -> Object:
    containers = [{"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]
    return {"metadata": {"labels": labels}, "spec": {"containers": containers, **spec}}


def make_deployment(replicas: int = 3, image: str = "web:1") -> Object:
    labels = {"app": "web"}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template(labels, image)}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}


def make_job(ends: str, **spec: Any) -> Object:
    body = {"template": template({"ends": ends}, restartPolicy="Never"), **spec}
    return {"metadata": {"name": "train", "namespace": "default"}, "spec": body}


ROLLED_OUT = {
    "Available": ("True", "MinimumReplicasAvailable"),
    "Progressing": ("True", "NewReplicaSetAvailable"),
}


async def is_rolled_out(c: Cluster, image: str, replicas: int) -> bool:
    found = await c.client.get(DEPLOYMENTS, "web", "default")
    status = found.get("status") or {}
    images = {pod["spec"]["containers"][0]["image"] for pod in await c.all(PODS) if is_active(pod)}
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("availableReplicas") == replicas == status.get("replicas")
        and status.get("updatedReplicas") == replicas
        and images == {image}
        and await c.conditions(DEPLOYMENTS, "web") == ROLLED_OUT
    )


def test_a_deployment_behind_a_service_rolls_out_and_back_and_goes(tmp_path: Path) -> None:
    """[sig-apps] Deployment RollingUpdateDeployment should delete old pods and create new ones [Conformance]"""

    async def scenario() -> None:
        async with running(tmp_path) as c:
            service = {
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
            }
            await c.client.create(SERVICES, service, "default")
            await c.client.create(DEPLOYMENTS, make_deployment(), "default")
            await c.until(lambda: is_rolled_out(c, "web:1", 3))

            async def is_published() -> bool:
                slices = [s for s in await c.all(ENDPOINT_SLICES) if meta.name(s).startswith("web-")]
                found = [e for s in slices for e in s["endpoints"] if e["conditions"]["ready"]]
                subsets = (await c.client.get(ENDPOINTS, "web", "default")).get("subsets") or [{}]
                return len(found) == 3 == len(subsets[0].get("addresses") or ())

            await c.until(is_published)
            for image in ("web:2", "web:1"):
                containers = [{"name": "main", "image": image}]
                patch = {"spec": {"template": {"spec": {"containers": containers}}}}
                await c.client.patch(
                    DEPLOYMENTS, "web", patch, "default", patch_type="application/strategic-merge-patch+json"
                )
                await c.until(lambda image=image: is_rolled_out(c, image, 3))
            sets = await c.all(REPLICA_SETS)
            revisions = {meta.annotations(rs)["deployment.kubernetes.io/revision"] for rs in sets}
            assert (len(sets), revisions) == (2, {"2", "3"})
            await c.client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "default")
            await c.until(lambda: is_rolled_out(c, "web:1", 5))

            async def tells_of_scaling() -> bool:
                messages = [e["message"] for e in await c.all(EVENTS) if e["reason"] == "ScalingReplicaSet"]
                return all(any(m.startswith(way) for m in messages) for way in ("Scaled up", "Scaled down"))

            await c.until(tells_of_scaling)
            await c.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
            await c.until(lambda: c.is_gone(DEPLOYMENTS, "web"))
            assert await c.all(REPLICA_SETS) == []
            await c.until(lambda: _equals(c.all(PODS), []))
            await c.client.delete(SERVICES, "web", "default")

            async def is_withdrawn() -> bool:
                left = [s for s in await c.all(ENDPOINT_SLICES) if meta.name(s) != "kubernetes"]
                return not left and await c.is_gone(ENDPOINTS, "web")

            await c.until(is_withdrawn)

    asyncio.run(scenario())


async def _equals(found: Any, expected: Any) -> bool:
    return bool(await found == expected)


def test_200_replicas_are_200_pods(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as c:
            await c.client.create(DEPLOYMENTS, make_deployment(200), "default")
            await c.until(lambda: is_rolled_out(c, "web:1", 200))
            created = [e for e in await c.all(EVENTS) if e["reason"] == "SuccessfulCreate"]
            assert len(await c.all(PODS)) == 200
            assert sum(e.get("count", 1) for e in created) <= 200

    asyncio.run(scenario())


def test_jobs_complete_fail_and_go(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as c:
            await c.client.create(JOBS, make_job("Succeeded", completions=3, parallelism=2), "default")

            async def ended() -> list[str]:
                return [*await c.conditions(JOBS, "train")]

            await c.until(lambda: _equals(ended(), ["SuccessCriteriaMet", "Complete"]))
            status = (await c.client.get(JOBS, "train", "default"))["status"]
            assert (status["succeeded"], status["uncountedTerminatedPods"]) == (3, {})
            assert [meta.finalizers(pod) for pod in await c.all(PODS)] == [[]] * 3
            await c.client.delete(JOBS, "train", "default", propagation_policy="Background")
            await c.until(lambda: _equals(c.all(PODS), []))
            job = make_job("Failed", backoffLimit=0, ttlSecondsAfterFinished=0)
            await c.client.create(JOBS, job, "default")
            await c.until(lambda: c.is_gone(JOBS, "train"))
            await c.until(lambda: _equals(c.all(PODS), []))

            async def reasons() -> set[str]:
                return {e["reason"] for e in await c.all(EVENTS) if e["involvedObject"]["kind"] == "Job"}

            await c.until(
                lambda: _equals(reasons(), {"SuccessfulCreate", "Completed", "BackoffLimitExceeded"})
            )

    asyncio.run(scenario())


def test_a_namespace_is_furnished_and_emptied(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as c:
            await c.client.create(NAMESPACES, {"metadata": {"name": "lab"}})
            await c.until(lambda: c.has(SERVICE_ACCOUNTS, "default", "lab"))
            await c.until(lambda: c.has(CONFIG_MAPS, "kube-root-ca.crt", "lab"))
            deployment = make_deployment() | {"metadata": {"name": "web", "namespace": "lab"}}
            await c.client.create(DEPLOYMENTS, deployment, "lab")

            async def running_pods() -> int:
                return sum(map(is_ready, await c.all(PODS, "lab")))

            await c.until(lambda: _equals(running_pods(), 3))
            await c.client.delete(NAMESPACES, "lab")
            await c.until(lambda: c.is_gone(NAMESPACES, "lab", None))
            for resource in (PODS, DEPLOYMENTS, REPLICA_SETS, CONFIG_MAPS, SERVICE_ACCOUNTS):
                assert await c.all(resource, "lab") == []

    asyncio.run(scenario())


def test_a_claim_is_bound_and_its_directory_goes_with_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as c:
            resources = {"requests": {"storage": "1Gi"}}
            claim = {
                "metadata": {"name": "data", "namespace": "default"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources},
            }
            await c.client.create(PERSISTENT_VOLUME_CLAIMS, claim, "default")
            chosen = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": NODE}}}
            await c.client.patch(PERSISTENT_VOLUME_CLAIMS, "data", chosen, "default")

            async def bound() -> str:
                found = await c.client.get(PERSISTENT_VOLUME_CLAIMS, "data", "default")
                is_bound = (found.get("status") or {}).get("phase") == "Bound"
                return str(found["spec"]["volumeName"]) if is_bound else ""

            volume_name = await c.until(bound)
            volume = await c.client.get(PERSISTENT_VOLUMES, volume_name)
            path = Path(volume["spec"]["hostPath"]["path"])
            assert path.is_dir()
            await c.client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
            await c.until(lambda: c.is_gone(PERSISTENT_VOLUMES, volume_name, None))
            assert not path.exists()

    asyncio.run(scenario())


KINDS = {"d": DEPLOYMENTS, "s": STATEFUL_SETS, "c": REPLICATION_CONTROLLERS, "a": DAEMON_SETS}
"""What the Meddler makes, by the first letter of its name."""


class Meddler:
    """Creates, scales, updates and deletes at random, and remembers what should come of it."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.chance = random.Random(seed)
        self.wanted: dict[str, tuple[int, str]] = {}
        self.jobs = 0

    async def meddle(self) -> None:
        name = f"{self.chance.choice('ddssca')}{self.chance.randint(0, 1)}"
        acts = [self.scale, self.update, self.harm, self.harm, self.run_job]
        act = self.chance.choice([*acts, self.delete]) if name in self.wanted else self.create
        try:
            await act(name)
        except (NotFound, Conflict):
            return  # what was meant has changed or gone meanwhile

    async def create(self, name: str) -> None:
        replicas, labels = self.chance.randint(0, 9), {"app": name}
        selector = labels if name[0] == "c" else {"matchLabels": labels}
        spec = {"selector": selector, "template": template(labels)}
        if name[0] == "a":
            replicas = 1  # there is one node
        else:
            spec["replicas"] = replicas
        if name[0] == "s":
            spec["podManagementPolicy"] = self.chance.choice(["OrderedReady", "Parallel"])
        body = {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
        await self.cluster.client.create(KINDS[name[0]], body, "default")
        self.wanted[name] = (replicas, "web:1")

    async def scale(self, name: str) -> None:
        if name[0] == "a":
            return
        replicas = self.chance.randint(0, 9)
        self.wanted[name] = (replicas, self.wanted[name][1])
        patch = {"spec": {"replicas": replicas}}
        await self.cluster.client.patch(KINDS[name[0]], name, patch, "default")

    async def update(self, name: str) -> None:
        if name[0] == "c":
            return  # the oldest kind does not roll
        image = f"web:{self.chance.randint(1, 4)}"
        self.wanted[name] = (self.wanted[name][0], image)
        patch = {"spec": template({"app": name}, image)["spec"]}
        await self.cluster.client.patch(KINDS[name[0]], name, {"spec": {"template": patch}}, "default")

    async def harm(self, name: str) -> None:
        pods = await self.cluster.all(PODS)
        if not pods:
            return
        pod = self.chance.choice(pods)
        if self.chance.random() < 0.5 or meta.labels(pod).get("ends"):
            await self.cluster.client.delete(PODS, meta.name(pod), "default")
            return
        failed = {**pod, "status": {**pod["status"], "phase": "Failed", "conditions": []}}
        await self.cluster.client.update(PODS, failed, subresource="status")

    async def delete(self, name: str) -> None:
        policies = ["Background", "Foreground"] if name[0] in "ca" else ["Background", "Foreground", "Orphan"]
        policy = self.chance.choice(policies)
        del self.wanted[name]
        await self.cluster.client.delete(KINDS[name[0]], name, "default", propagation_policy=policy)
        await self.cluster.until(lambda: self.cluster.is_gone(KINDS[name[0]], name))

    async def run_job(self, _: str) -> None:
        self.jobs += 1
        job = make_job(
            "Succeeded", completions=self.chance.randint(1, 4), parallelism=2, ttlSecondsAfterFinished=0
        )
        job["metadata"]["name"] = f"j{self.jobs}"
        await self.cluster.client.create(JOBS, job, "default")

    async def is_as_wanted(self) -> bool:
        all_pods = await self.cluster.all(PODS)
        for name, (replicas, image) in self.wanted.items():
            found = await self.cluster.client.get(KINDS[name[0]], name, "default")
            status = found.get("status") or {}
            pods = [p for p in all_pods if meta.labels(p).get("app") == name and is_active(p)]
            images = [pod["spec"]["containers"][0]["image"] for pod in pods]
            counts = [status.get(key, 0) for key in COUNTS[name[0]]]
            if counts != [replicas] * len(counts) or images != [image] * replicas:
                return False
        return not await self.cluster.all(JOBS) and await self.has_no_strays(all_pods)

    async def has_no_strays(self, pods: list[Object]) -> bool:
        """Tell whether all that has an owner has one that is there."""
        revisions = await self.cluster.all(CONTROLLER_REVISIONS)
        sets = await self.cluster.all(REPLICA_SETS)
        there = {meta.uid(rs) for rs in sets}
        for resource in KINDS.values():
            there |= {meta.uid(obj) for obj in await self.cluster.all(resource)}
        owners = {ref["uid"] for obj in (*pods, *revisions, *sets) for ref in meta.owner_references(obj)}
        return owners <= there


COUNTS = {
    "d": ("replicas", "updatedReplicas", "availableReplicas"),
    "s": ("replicas", "updatedReplicas", "availableReplicas"),
    "c": ("replicas", "availableReplicas"),
    "a": ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"),
}


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_done_in_whatever_order_comes_out_as_wanted(tmp_path: Path, seed: int) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as c:
            meddler = Meddler(c, seed)
            for _ in range(80):
                await meddler.meddle()
                for _ in range(meddler.chance.randint(0, 40)):
                    await asyncio.sleep(0)
            await c.until(meddler.is_as_wanted)

    asyncio.run(scenario())
