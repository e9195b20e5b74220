"""TrainJobs and JobSets with all controllers on the real API server: made, resting, patched, ended, refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proa.ml.definitions import ensure_definitions
from proa.ml.training.component import make_parts
from proa.ml.training.jobset.controllers import CONTROLLERS as JOB_SET_CONTROLLERS
from proa.ml.training.kinds import CLUSTER_TRAINING_RUNTIMES, JOB_SETS, POD_GROUPS, TRAIN_JOBS
from proa.ml.training.runtimes.installation import install
from proa.ml.training.trainjob.controllers import CONTROLLERS as TRAIN_JOB_CONTROLLERS
from proa.objects import meta
from proa.objects.errors import Invalid, NotFound
from proa.objects.resource import CONFIG_MAPS, JOBS, NAMESPACES, PODS, RESOURCE_QUOTAS, SERVICES
from proa.reconcile.manager import Manager
from support.control_plane import Cluster, running

Object = dict[str, Any]


@asynccontextmanager
async def training(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster that trains."""
    async with running(tmp_path) as cluster:
        await ensure_definitions(cluster.client, [file for part in make_parts() for file in part.definitions])

        async def is_served() -> bool:
            try:
                for resource in (JOB_SETS, TRAIN_JOBS, CLUSTER_TRAINING_RUNTIMES):
                    await cluster.client.list(resource)
            except NotFound:
                return False
            return True

        await cluster.until(is_served)
        await install(cluster.client)
        manager = Manager(cluster.client, [*JOB_SET_CONTROLLERS, *TRAIN_JOB_CONTROLLERS])
        await manager.start()
        try:
            yield cluster
        finally:
            await manager.stop()


def run(tmp_path: Path, scenario: Callable[[Cluster], Awaitable[None]]) -> None:
    async def act() -> None:
        async with training(tmp_path) as cluster:
            await scenario(cluster)

    asyncio.run(act())


def make_trainjob(name: str = "tune", **spec: Any) -> Object:
    pods = {"metadata": {"labels": {"ends": "Succeeded"}}}
    overrides = [{"targetJobs": [{"name": "node"}], **pods}]
    return {
        "apiVersion": TRAIN_JOBS.api_version,
        "kind": TRAIN_JOBS.kind,
        "metadata": {"name": name},
        "spec": {"runtimeRef": {"name": "plain"}, "podTemplateOverrides": overrides, **spec},
    }


async def until_it_says(cluster: Cluster, type: str, name: str = "tune") -> Object:
    async def find() -> Object | None:
        found = await cluster.client.get(TRAIN_JOBS, name, "default")
        condition = meta.find_condition(found, type)
        return condition if condition is not None and condition["status"] == "True" else None

    found: Object = await cluster.until(find)
    return found


def test_a_trainjob_becomes_pods_that_find_one_another_and_completes(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(TRAIN_JOBS, make_trainjob(trainer={"numNodes": 2}), "default")
        assert (await until_it_says(cluster, "Complete"))["reason"] == "AllJobsCompleted"

        pods = await cluster.all(PODS)
        assert sorted(pod["spec"]["hostname"] for pod in pods) == ["tune-node-0-0", "tune-node-0-1"]
        assert {pod["spec"]["subdomain"] for pod in pods} == {"tune"}
        service = await cluster.client.get(SERVICES, "tune", "default")
        assert service["spec"]["publishNotReadyAddresses"] is True
        assert await cluster.has(CONFIG_MAPS, "tune-runtime-snapshot")

        await cluster.client.delete(TRAIN_JOBS, "tune", "default")
        for resource, name in ((JOB_SETS, "tune"), (JOBS, "tune-node-0"), (SERVICES, "tune")):
            await cluster.until(lambda r=resource, n=name: cluster.is_gone(r, n))

    run(tmp_path, scenario)


def test_one_that_rests_may_be_changed_and_goes_on_as_it_then_is(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        await client.create(TRAIN_JOBS, make_trainjob(suspend=True), "default")
        await until_it_says(cluster, "Suspended")
        assert await cluster.all(PODS) == []

        patched = {
            "targetJobs": [{"name": "node"}],
            "metadata": {"labels": {"ends": "Succeeded", "queue": "b"}},
            "spec": {
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "volumes": [{"name": "v", "emptyDir": {}}],
            },
        }
        change = {"spec": {"podTemplateOverrides": [patched], "suspend": False}}
        await client.patch(TRAIN_JOBS, "tune", change, "default")
        await until_it_says(cluster, "Complete")

        (pod,) = await cluster.all(PODS)
        assert meta.labels(pod)["queue"] == "b"
        assert pod["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}

    run(tmp_path, scenario)


def test_what_runs_is_not_changed(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        await client.create(
            TRAIN_JOBS, make_trainjob(podTemplateOverrides=[], trainer={"numNodes": 1}), "default"
        )
        await cluster.until(lambda: cluster.has(JOB_SETS, "tune"))
        for change in (
            {"trainer": {"numNodes": 3}},
            {"runtimeRef": {"name": "x"}},
            {"podTemplateOverrides": None},
        ):
            with pytest.raises(Invalid):
                await client.patch(TRAIN_JOBS, "tune", {"spec": change}, "default")
        jobset = await client.get(JOB_SETS, "tune", "default")
        jobset["spec"]["replicatedJobs"][0]["replicas"] = 2
        with pytest.raises(Invalid, match="field is immutable"):
            await client.update(JOB_SETS, jobset)

    run(tmp_path, scenario)


def test_a_gang_has_its_group_and_a_runtime_may_go_while_it_is_in_use(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        runtime = await client.get(CLUSTER_TRAINING_RUNTIMES, "plain")
        metadata = {"name": "gang", "labels": meta.labels(runtime)}
        spec = {**runtime["spec"], "podGroupPolicy": {"coscheduling": {}}}
        await client.create(CLUSTER_TRAINING_RUNTIMES, {**runtime, "metadata": metadata, "spec": spec})
        trainjob = make_trainjob(runtimeRef={"name": "gang"}, trainer={"numNodes": 2}, suspend=True)
        await client.create(TRAIN_JOBS, trainjob, "default")
        await until_it_says(cluster, "Suspended")
        group = await client.get(POD_GROUPS, "tune", "default")
        assert group["spec"]["minMember"] == 2

        await client.delete(CLUSTER_TRAINING_RUNTIMES, "gang")
        await client.patch(TRAIN_JOBS, "tune", {"spec": {"suspend": False}}, "default")
        await until_it_says(cluster, "Complete")

    run(tmp_path, scenario)


def test_a_name_that_is_taken_is_said_and_had_once_it_is_free(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        taken = {"metadata": {"name": "tune"}, "spec": {"ports": [{"port": 1}]}}
        await cluster.client.create(SERVICES, {"apiVersion": "v1", "kind": "Service", **taken}, "default")
        await cluster.client.create(TRAIN_JOBS, make_trainjob(), "default")
        stalled = await until_it_says(cluster, "Stalled")
        assert stalled["reason"] == "HeadlessServiceCreationFailed"

        await cluster.client.delete(SERVICES, "tune", "default")
        await until_it_says(cluster, "Complete")

    run(tmp_path, scenario)


def test_a_quota_that_is_full_is_said_and_waited_for(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        quota = {"metadata": {"name": "full"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
        await cluster.client.create(
            RESOURCE_QUOTAS, {"apiVersion": "v1", "kind": "ResourceQuota", **quota}, "default"
        )

        async def is_counted() -> bool:
            found = await cluster.client.get(RESOURCE_QUOTAS, "full", "default")
            return "used" in (found.get("status") or {})

        await cluster.until(is_counted)
        await cluster.client.create(TRAIN_JOBS, make_trainjob(), "default")
        stalled = await until_it_says(cluster, "Stalled")
        assert stalled["reason"] == "JobCreationFailed"
        assert "exceeded quota: full" in stalled["message"]

        await cluster.client.delete(RESOURCE_QUOTAS, "full", "default")
        await until_it_says(cluster, "Complete")

    run(tmp_path, scenario)


def test_what_is_shipped_is_made_once_and_what_was_taken_away_stays_away(tmp_path: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        await client.delete(CLUSTER_TRAINING_RUNTIMES, "plain")
        await install(client)
        assert await cluster.is_gone(CLUSTER_TRAINING_RUNTIMES, "plain", None)

        public = await client.get(CONFIG_MAPS, "kubeflow-trainer-public", "kubeflow-system")
        await client.update(CONFIG_MAPS, {**public, "data": {"kubeflow_trainer_version": "0.1"}})
        torch = await client.get(CLUSTER_TRAINING_RUNTIMES, "torch-distributed")
        metadata = {**torch["metadata"], "labels": {}}
        await client.update(CLUSTER_TRAINING_RUNTIMES, {**torch, "metadata": metadata})
        await install(client)
        assert await cluster.has(CLUSTER_TRAINING_RUNTIMES, "plain", None)
        somebodys = await client.get(CLUSTER_TRAINING_RUNTIMES, "torch-distributed")
        assert meta.labels(somebodys) == {}
        assert await cluster.has(NAMESPACES, "kubeflow-system", None)

    run(tmp_path, scenario)
