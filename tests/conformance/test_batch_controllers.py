"""What upstream's conformance suite asks of the controllers of CronJobs and disruption budgets, without containers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import CRON_JOBS, JOBS, POD_DISRUPTION_BUDGETS, PODS, SERVICE_ACCOUNTS
from support.control_plane import Cluster, running


class Clock:
    """The controllers' time, which tests put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead


def make_cron_job(name: str, **spec: Any) -> Object:
    containers = [{"name": "c", "image": "registry.example/app:1"}]
    pod = {"spec": {"restartPolicy": "OnFailure", "containers": containers}}
    body = {"schedule": "*/1 * * * ?", "jobTemplate": {"spec": {"template": pod}}, **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": body}


class Minutes:
    """A cluster with one CronJob, whose minutes pass when the test says so."""

    def __init__(self, cluster: Cluster, clock: Clock, name: str) -> None:
        self.cluster = cluster
        self.clock = clock
        self.name = name

    async def pass_one(self) -> None:
        """Put the clock forward, and touch the CronJob as the time's passing would."""
        self.clock.ahead += 60
        note = {"metadata": {"annotations": {"minute": str(self.clock.ahead)}}}
        await self.cluster.client.patch(CRON_JOBS, self.name, note, "default")

    async def active(self) -> list[str]:
        """Return the names of the jobs that run by the CronJob's status."""
        found = await self.cluster.client.get(CRON_JOBS, self.name, "default")
        return [reference["name"] for reference in found["status"].get("active") or ()]

    async def has_active(self, count: int) -> bool:
        return len(await self.active()) == count

    async def is_looked_at(self) -> bool:
        await asyncio.sleep(0.05)
        return self.cluster.manager.is_idle()


async def create(cluster: Cluster, clock: Clock, name: str, **spec: Any) -> Minutes:
    await cluster.client.create(CRON_JOBS, make_cron_job(name, **spec), "default")
    return Minutes(cluster, clock, name)


def test_jobs_of_a_cron_job_run_side_by_side(tmp_path: Path) -> None:
    """[sig-apps] CronJob should schedule multiple jobs concurrently [Conformance]"""

    async def scenario(clock: Clock) -> None:
        async with running(tmp_path, clock.now) as cluster:
            minutes = await create(cluster, clock, "concurrent", concurrencyPolicy="Allow")
            for count in (1, 2):
                await minutes.pass_one()
                await cluster.until(lambda count=count: minutes.has_active(count))
            jobs = await cluster.all(JOBS)
            assert sorted(map(meta.name, jobs)) == sorted(await minutes.active())
            await cluster.until(lambda: has_pods(cluster, 2))

    asyncio.run(scenario(Clock()))


async def has_pods(cluster: Cluster, count: int) -> bool:
    return len(await cluster.all(PODS)) == count


def test_a_suspended_cron_job_starts_nothing(tmp_path: Path) -> None:
    """[sig-apps] CronJob should not schedule jobs when suspended [Conformance]"""

    async def scenario(clock: Clock) -> None:
        async with running(tmp_path, clock.now) as cluster:
            minutes = await create(cluster, clock, "suspended", suspend=True)
            for _ in range(5):
                await minutes.pass_one()
                await cluster.until(minutes.is_looked_at)
            assert await cluster.all(JOBS) == []

    asyncio.run(scenario(Clock()))


def test_a_job_that_runs_keeps_the_next_from_starting(tmp_path: Path) -> None:
    """[sig-apps] CronJob should not schedule new jobs when ForbidConcurrent [Conformance]"""

    async def scenario(clock: Clock) -> None:
        async with running(tmp_path, clock.now) as cluster:
            minutes = await create(cluster, clock, "forbid", concurrencyPolicy="Forbid")
            await minutes.pass_one()
            await cluster.until(lambda: minutes.has_active(1))
            (job,) = await cluster.all(JOBS)
            for _ in range(3):
                await minutes.pass_one()
                await cluster.until(minutes.is_looked_at)
            assert [meta.uid(job)] == [meta.uid(one) for one in await cluster.all(JOBS)]

    asyncio.run(scenario(Clock()))


def test_a_job_that_runs_is_replaced(tmp_path: Path) -> None:
    """[sig-apps] CronJob should replace jobs when ReplaceConcurrent [Conformance]"""

    async def scenario(clock: Clock) -> None:
        async with running(tmp_path, clock.now) as cluster:
            minutes = await create(cluster, clock, "replace", concurrencyPolicy="Replace")
            await minutes.pass_one()
            await cluster.until(lambda: minutes.has_active(1))
            (first,) = await minutes.active()
            await minutes.pass_one()

            async def is_replaced() -> bool:
                return await cluster.is_gone(JOBS, first) and await minutes.has_active(1)

            await cluster.until(is_replaced)
            assert len(await cluster.all(JOBS)) == 1

    asyncio.run(scenario(Clock()))


def test_the_status_of_a_budget_follows_its_pods(tmp_path: Path) -> None:
    """[sig-apps] DisruptionController should observe PodDisruptionBudget status updated [Conformance]"""

    async def scenario() -> None:
        async with running(tmp_path) as cluster:
            await cluster.until(lambda: cluster.has(SERVICE_ACCOUNTS, "default"))
            labels = {"foo": "bar"}
            spec = {"minAvailable": 1, "selector": {"matchLabels": labels}}
            budget = {"metadata": {"name": "foo"}, "spec": spec}
            await cluster.client.create(POD_DISRUPTION_BUDGETS, budget, "default")
            for i in range(3):
                containers = [{"name": "c", "image": "registry.example/app:1"}]
                pod = {"metadata": {"name": f"p-{i}", "labels": labels}, "spec": {"containers": containers}}
                await cluster.client.create(PODS, pod, "default")

            async def observes() -> bool:
                found = await cluster.client.get(POD_DISRUPTION_BUDGETS, "foo", "default")
                status = found["status"]
                is_new = status.get("observedGeneration") == found["metadata"]["generation"]
                return is_new and (status["currentHealthy"], status["disruptionsAllowed"]) == (3, 2)

            await cluster.until(observes)

    asyncio.run(scenario())


def test_a_job_from_its_suspension_to_the_deletion_of_a_collection(tmp_path: Path) -> None:
    """[sig-apps] Job should manage the lifecycle of a job [Conformance]"""

    async def scenario() -> None:
        async with running(tmp_path) as cluster:
            await cluster.until(lambda: cluster.has(SERVICE_ACCOUNTS, "default"))
            containers = [{"name": "c", "image": "registry.example/app:1"}]
            template = {
                "metadata": {"labels": {"ends": "Succeeded"}},
                "spec": {"restartPolicy": "Never", "containers": containers},
            }
            spec = {"parallelism": 2, "completions": 2, "suspend": True, "template": template}
            job = {"metadata": {"name": "e2e", "labels": {"e2e-job-label": "e2e"}}, "spec": spec}
            await cluster.client.create(JOBS, job, "default")

            async def conditions() -> list[tuple[str, tuple[str, str]]]:
                return [*(await cluster.conditions(JOBS, "e2e")).items()]

            async def is_suspended() -> bool:
                return await conditions() == [("Suspended", ("True", "JobSuspended"))]

            await cluster.until(is_suspended)
            patch = {"metadata": {"labels": {"e2e-job-label": "patched"}}, "spec": {"suspend": False}}
            await cluster.client.patch(JOBS, "e2e", patch, "default")

            async def is_complete() -> bool:
                reached = ("True", "CompletionsReached")
                resumed = ("Suspended", ("False", "JobResumed"))
                return await conditions() == [resumed, ("SuccessCriteriaMet", reached), ("Complete", reached)]

            await cluster.until(is_complete)
            note = {"metadata": {"annotations": {"updated": "true"}}}
            await cluster.client.patch(JOBS, "e2e", note, "default")
            found = await cluster.client.list(JOBS, label_selector="e2e-job-label=patched")
            assert [meta.annotations(one)["updated"] for one in found.items] == ["true"]
            collection = f"{JOBS.path('default')}?labelSelector=e2e-job-label%3Dpatched"
            await cluster.client.request("DELETE", f"{collection}&propagationPolicy=Background")
            await cluster.until(lambda: cluster.is_gone(JOBS, "e2e"))
            await cluster.until(lambda: has_pods(cluster, 0))

    asyncio.run(scenario())
