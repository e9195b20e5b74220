"""Whatever becomes of its Jobs, a JobSet ends, restarts no more often than it may, and has each Job once."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proa.ml.training.jobset.conditions import is_finished
from proa.ml.training.jobset.plan import make_plan
from proa.objects import meta

NOW = 1_800_000_000.0
Object = dict[str, Any]
ACTIONS = ("RestartJobSet", "RestartJob", "RestartJobSetAndIgnoreMaxRestarts", "FailJobSet")
FATES = ("ready", "Complete", "Failed", "gone")


def make_jobset(replicas: list[int], max_restarts: int, action: str, strategy: str, depends: str) -> Object:
    replicated = []
    for index, number in enumerate(replicas):
        template = {"spec": {"completions": 1, "parallelism": 1, "template": {"spec": {"containers": []}}}}
        job: Object = {"name": f"r{index}", "replicas": number, "groupName": "default", "template": template}
        if index and depends:
            job["dependsOn"] = [{"name": f"r{index - 1}", "status": depends}]
        replicated.append(job)
    policy = {"maxRestarts": max_restarts, "restartStrategy": strategy, "rules": [{"action": action}]}
    return {
        "metadata": {"name": "set", "namespace": "default", "uid": "u"},
        "spec": {"replicatedJobs": replicated, "failurePolicy": policy, "successPolicy": {"operator": "All"}},
        "status": {},
    }


class World:
    """A JobSet and its Jobs, as an API server keeps them."""

    def __init__(self, jobset: Object) -> None:
        self.jobset = jobset
        self.jobs: dict[str, Object] = {}

    def reconcile(self) -> bool:
        """Do what is planned; tell whether anything was."""
        plan = make_plan(self.jobset, self.jobs.values(), NOW)
        for job in plan.delete:
            del self.jobs[meta.name(job)]
        for job in plan.create:
            assert meta.name(job) not in self.jobs
            self.jobs[meta.name(job)] = {**job, "status": {"active": 1}}
        changed = plan.status != self.jobset["status"]
        self.jobset = {**self.jobset, "status": plan.status}
        return bool(changed or plan.delete or plan.create)

    def settle(self) -> None:
        for _ in range(50):
            if not self.reconcile():
                return
        raise AssertionError("it does not come to rest")

    def befall(self, index: int, fate: str) -> None:
        """Have something become of one of the Jobs."""
        if not self.jobs:
            return
        name = sorted(self.jobs)[index % len(self.jobs)]
        if fate == "gone":
            del self.jobs[name]
            return
        status: Object = {"active": 1, "ready": 1}
        if fate != "ready":
            condition = {"type": fate, "status": "True", "lastTransitionTime": meta.format_time(NOW)}
            status = {"conditions": [condition]}
        self.jobs[name] = {**self.jobs[name], "status": status}


@settings(max_examples=150, deadline=None)
@given(
    replicas=st.lists(st.integers(0, 3), min_size=1, max_size=3),
    max_restarts=st.integers(0, 2),
    action=st.sampled_from(ACTIONS),
    strategy=st.sampled_from(("Recreate", "BlockingRecreate")),
    depends=st.sampled_from(("", "Ready", "Complete")),
    fates=st.lists(st.tuples(st.integers(0, 8), st.sampled_from(FATES)), max_size=12),
)
def test_a_jobset_ends_whatever_becomes_of_its_jobs(
    replicas: list[int],
    max_restarts: int,
    action: str,
    strategy: str,
    depends: str,
    fates: list[tuple[int, str]],
) -> None:
    world = World(make_jobset(replicas, max_restarts, action, strategy, depends))
    world.settle()
    for index, fate in fates:
        if is_finished(world.jobset):
            break
        world.befall(index, fate)
        world.settle()
        status = world.jobset["status"]
        alone = sum(sum(e.get("jobRestartsCountTowardsMax", ())) for e in status["replicatedJobsStatus"])
        assert status.get("restartsCountTowardsMax", 0) + alone <= max_restarts
    for _ in range(2 * len(replicas)):
        if is_finished(world.jobset):
            break
        for index in range(len(world.jobs)):
            world.befall(index, "Complete")
        world.settle()
    assert is_finished(world.jobset) or sum(replicas) == 0
    assert all(
        any(c["status"] == "True" for c in job["status"].get("conditions", ())) for job in world.jobs.values()
    )
