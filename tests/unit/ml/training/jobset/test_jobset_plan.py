"""What a JobSet needs next, from it and its Jobs alone."""

from __future__ import annotations

from typing import Any

import pytest

from proa.ml.training.jobset.conditions import is_finished
from proa.ml.training.jobset.plan import Plan, fail, make_plan, seconds_to_wait, stall
from proa.objects import meta

NOW = 1_800_000_000.0
Object = dict[str, Any]


def make_replicated(name: str = "node", replicas: int = 1, **fields: Any) -> Object:
    spec = {
        "completions": 2,
        "parallelism": 2,
        "completionMode": "Indexed",
        "template": {"spec": {"containers": [{"name": "main", "image": "python"}]}},
    }
    return {
        "name": name,
        "replicas": replicas,
        "groupName": "default",
        "template": {"metadata": {"labels": {"team": "red"}}, "spec": spec},
        **fields,
    }


def make_jobset(*replicated: Object, status: Object | None = None, **spec: Any) -> Object:
    return {
        "metadata": {"name": "train", "namespace": "default", "uid": "u-1"},
        "spec": {
            "replicatedJobs": list(replicated) or [make_replicated()],
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "successPolicy": {"operator": "All"},
            "startupPolicy": {"startupPolicyOrder": "AnyOrder"},
            **spec,
        },
        "status": status or {},
    }


def make_jobs(jobset: Object, **ends: str) -> list[Object]:
    """The Jobs that the JobSet asks for; `ends` maps a name, with _ for -, to how it is."""
    made = make_plan(jobset, [], NOW).create
    jobs = []
    for job in made:
        how = ends.get(meta.name(job).replace("-", "_"), ends.get("all", "running"))
        status: Object = {"active": 2, "ready": 2 if how == "ready" else 0}
        if how in ("Complete", "Failed"):
            condition = {
                "type": how,
                "status": "True",
                "reason": "BackoffLimitExceeded",
                "message": "boom 137",
            }
            status = {"conditions": [{**condition, "lastTransitionTime": meta.format_time(NOW)}]}
        jobs.append({**job, "status": status})
    return jobs


def conditions_of(plan: Plan) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in plan.status["conditions"]}


def names(jobs: list[Object]) -> list[str]:
    return [meta.name(job) for job in jobs]


def test_every_replica_is_a_job_with_the_labels_that_users_of_jobset_know() -> None:
    jobset = make_jobset(make_replicated("driver"), make_replicated("node", 2))

    created = make_plan(jobset, [], NOW).create

    assert names(created) == ["train-driver-0", "train-node-0", "train-node-1"]
    labels = meta.labels(created[2])
    assert labels["team"] == "red"
    assert {
        key.removeprefix("jobset.sigs.k8s.io/"): value for key, value in labels.items() if "/" in key
    } == {
        "jobset-name": "train",
        "jobset-uid": "u-1",
        "replicatedjob-name": "node",
        "restart-attempt": "0",
        "job-restart-attempt": "0",
        "replicatedjob-replicas": "2",
        "global-replicas": "3",
        "job-index": "1",
        "job-global-index": "2",
        "group-name": "default",
        "group-replicas": "3",
        "job-group-index": "2",
    } | {"job-key": labels["jobset.sigs.k8s.io/job-key"]}
    pods = created[2]["spec"]["template"]
    assert pods["spec"]["subdomain"] == "train"
    assert pods["metadata"]["labels"].items() >= {"jobset.sigs.k8s.io/jobset-name": "train"}.items()
    assert pods["metadata"]["annotations"] == pods["metadata"]["labels"]


def test_a_coordinator_is_named_on_every_job() -> None:
    coordinator = {"replicatedJob": "node", "jobIndex": 0, "podIndex": 1}

    created = make_plan(make_jobset(coordinator=coordinator), [], NOW).create

    assert meta.labels(created[0])["jobset.sigs.k8s.io/coordinator"] == "train-node-0-1.train"


def test_nothing_is_due_while_jobs_run() -> None:
    jobset = make_jobset()
    jobs = make_jobs(jobset, all="ready")

    plan = make_plan(jobset, jobs, NOW)

    assert (plan.create, plan.delete, plan.events) == ([], [], [])
    assert plan.status["replicatedJobsStatus"] == [
        {"name": "node", "ready": 1, "succeeded": 0, "failed": 0, "active": 1, "suspended": 0}
    ]


@pytest.mark.parametrize(
    ("policy", "ends", "completes"),
    [
        ({"operator": "All"}, {"all": "Complete"}, True),
        ({"operator": "All"}, {"train_a_0": "Complete"}, False),
        ({"operator": "Any"}, {"train_a_0": "Complete"}, True),
        ({"operator": "All", "targetReplicatedJobs": ["a"]}, {"train_a_0": "Complete"}, True),
        ({"operator": "Any", "targetReplicatedJobs": ["b"]}, {"train_a_0": "Complete"}, False),
    ],
)
def test_the_success_policy_says_when_it_is_complete(policy: Object, ends: Object, completes: bool) -> None:
    jobset = make_jobset(make_replicated("a"), make_replicated("b"), successPolicy=policy)

    plan = make_plan(jobset, make_jobs(jobset, **ends), NOW)

    assert (plan.status.get("terminalState") == "Completed") is completes
    assert ("Completed" in conditions_of(plan)) is completes


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (None, ("Failed", "FailedJobs", 0)),
        ({"maxRestarts": 0}, ("Failed", "ReachedMaxRestarts", 0)),
        ({"maxRestarts": 2}, ("RestartingJobSet", "DefaultFailurePolicy", 1)),
        (
            {"maxRestarts": 2, "rules": [{"action": "FailJobSet", "onJobFailureReasons": ["BackoffLimitExceeded"]}]},
            ("Failed", "FailJobSetFailurePolicyAction", 0),
        ),
        (
            {"maxRestarts": 2, "rules": [{"action": "FailJobSet", "onJobFailureReasons": ["DeadlineExceeded"]}]},
            ("RestartingJobSet", "DefaultFailurePolicy", 1),
        ),
        (
            {"rules": [{"name": "oom", "action": "RestartJobSetAndIgnoreMaxRestarts",
                        "onJobFailureMessagePatterns": ["boom 1[0-9]+"]}]},
            ("RestartingJobSet", "FailurePolicy_oom", 1),
        ),
        (
            {"maxRestarts": 1, "rules": [{"action": "FailJobSet", "onJobFailureMessagePatterns": ["^oom"]}]},
            ("RestartingJobSet", "DefaultFailurePolicy", 1),
        ),
    ],
)  # fmt: skip
def test_the_failure_policy_says_whether_it_begins_anew(
    policy: Object | None, expected: tuple[str, str, int]
) -> None:
    spec = {} if policy is None else {"failurePolicy": policy}
    jobset = make_jobset(**spec)

    plan = make_plan(jobset, make_jobs(jobset, all="Failed"), NOW)

    condition, reason, restarts = expected
    assert conditions_of(plan)[condition] == ("True", reason)
    assert plan.status.get("restarts", 0) == restarts


def test_jobs_of_an_attempt_that_is_over_are_deleted_before_their_names_are_used_again() -> None:
    jobset = make_jobset(failurePolicy={"maxRestarts": 2})
    jobs = make_jobs(jobset, all="Failed")
    restarted = {**jobset, "status": make_plan(jobset, jobs, NOW).status}

    plan = make_plan(restarted, jobs, NOW)
    assert names(plan.delete) == ["train-node-0"]
    assert plan.create == []

    plan = make_plan(restarted, [], NOW)
    assert meta.labels(plan.create[0])["jobset.sigs.k8s.io/restart-attempt"] == "1"


def test_recreating_may_wait_until_all_old_jobs_are_gone() -> None:
    policy = {"maxRestarts": 2, "restartStrategy": "BlockingRecreate"}
    jobset = make_jobset(make_replicated(replicas=2), failurePolicy=policy)
    jobs = make_jobs(jobset, train_node_0="Failed")
    restarted = {**jobset, "status": make_plan(jobset, jobs, NOW).status}

    assert make_plan(restarted, jobs[1:], NOW).create == []
    assert names(make_plan(restarted, [], NOW).create) == ["train-node-0", "train-node-1"]


def test_a_single_job_may_be_restarted() -> None:
    policy = {"maxRestarts": 1, "rules": [{"action": "RestartJob"}]}
    jobset = make_jobset(make_replicated(replicas=2), failurePolicy=policy)
    jobs = make_jobs(jobset, train_node_1="Failed")

    status = make_plan(jobset, jobs, NOW).status
    assert status["replicatedJobsStatus"][0]["jobRestarts"] == [0, 1]

    plan = make_plan({**jobset, "status": status}, jobs, NOW)
    assert names(plan.delete) == ["train-node-1"]
    again = make_jobs({**jobset, "status": status}, train_node_1="Failed")
    assert (
        conditions_of(make_plan({**jobset, "status": status}, again, NOW))["Failed"][1]
        == "ReachedMaxRestarts"
    )


def test_what_depends_on_others_waits_for_them() -> None:
    jobset = make_jobset(
        make_replicated("data"),
        make_replicated("node", dependsOn=[{"name": "data", "status": "Complete"}]),
    )
    data = make_plan(jobset, [], NOW).create
    assert names(data) == ["train-data-0"]

    assert make_plan(jobset, make_jobs(jobset, all="ready"), NOW).create == []
    assert names(make_plan(jobset, make_jobs(jobset, all="Complete"), NOW).create) == ["train-node-0"]


def test_replicated_jobs_start_in_order() -> None:
    jobset = make_jobset(
        make_replicated("a"), make_replicated("b"), startupPolicy={"startupPolicyOrder": "InOrder"}
    )
    plan = make_plan(jobset, [], NOW)
    assert names(plan.create) == ["train-a-0"]
    assert conditions_of(plan) == {"StartupPolicyInProgress": ("True", "InOrderStartupPolicyInProgress")}

    first = make_jobs(jobset, all="ready")
    jobset["status"] = plan.status
    plan = make_plan(jobset, first, NOW)
    assert names(plan.create) == ["train-b-0"]

    jobset["status"] = plan.status
    second = [{**job, "status": {"active": 2, "ready": 2}} for job in plan.create]
    assert conditions_of(make_plan(jobset, [*first, *second], NOW)) == {
        "StartupPolicyInProgress": ("False", "InOrderStartupPolicyInProgress"),
        "StartupPolicyCompleted": ("True", "InOrderStartupPolicyCompleted"),
    }


def test_suspending_suspends_the_jobs_and_resuming_has_them_go_on() -> None:
    jobset = make_jobset()
    jobs = make_jobs(jobset)
    suspended = {**jobset, "spec": {**jobset["spec"], "suspend": True}}

    plan = make_plan(suspended, jobs, NOW)
    assert names(plan.suspend) == ["train-node-0"]
    assert conditions_of(plan) == {"Suspended": ("True", "SuspendedJobs")}

    resting = [{**job, "spec": {**job["spec"], "suspend": True}} for job in jobs]
    plan = make_plan({**jobset, "status": plan.status}, resting, NOW)
    assert names([job for job, _ in plan.resume]) == ["train-node-0"]
    assert conditions_of(plan) == {"Suspended": ("False", "ResumeJobs")}


def test_a_finished_one_ends_what_runs_and_goes_when_its_time_has_come() -> None:
    jobset = make_jobset(
        make_replicated("a"),
        make_replicated("b"),
        successPolicy={"operator": "Any"},
        ttlSecondsAfterFinished=30,
    )
    jobs = make_jobs(jobset, train_a_0="Complete")
    jobset["status"] = make_plan(jobset, jobs, NOW).status
    assert is_finished(jobset)

    plan = make_plan(jobset, jobs, NOW + 10)
    assert names(plan.delete) == ["train-b-0"]
    assert (plan.expire, plan.wait_seconds) == (False, 20.0)
    assert make_plan(jobset, jobs, NOW + 30).expire


@pytest.mark.parametrize(
    ("jobset", "field"),
    [
        (make_jobset(make_replicated("n" * 60)), "spec.replicatedJobs[0].name"),
        (make_jobset(make_replicated(replicas=2**40)), "spec.replicatedJobs: 1099511627776 Jobs are more than"),
        (make_jobset(make_replicated("a", dependsOn=[{"name": "b", "status": "Ready"}])), "dependsOn"),
        (make_jobset(failurePolicy={"restartStrategy": "InPlaceRestart"}), "restartStrategy"),
        (
            make_jobset(failurePolicy={"rules": [{"action": "FailJobSet", "onJobFailureMessagePatterns": ["("]}]}),
            "onJobFailureMessagePatterns",
        ),
        (
            make_jobset(failurePolicy={"rules": [{"action": "FailJobSet", "targetReplicatedJobs": ["x"]}]}),
            "targetReplicatedJobs",
        ),
        (make_jobset(coordinator={"replicatedJob": "x"}), "spec.coordinator.replicatedJob"),
        (make_jobset(coordinator={"replicatedJob": "node", "podIndex": 2}), "spec.coordinator.podIndex"),
    ],
)  # fmt: skip
def test_what_no_schema_can_tell_fails_it_before_anything_is_made(jobset: Object, field: str) -> None:
    plan = make_plan(jobset, [], NOW)

    assert plan.create == []
    failed = next(c for c in plan.status["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "InvalidJobSet"
    assert field in failed["message"]


def test_what_stalls_is_said_for_as_long_as_it_does() -> None:
    jobset = make_jobset()
    status, events = stall({}, "JobCreationFailed", "exceeded quota", NOW)
    assert [told.reason for told in events] == ["JobCreationFailed"]
    assert stall(status, "JobCreationFailed", "exceeded quota", NOW)[1] == []

    assert [seconds_to_wait(status, NOW + seconds) for seconds in (0, 3, 99)] == [1.0, 3.0, 5.0]

    assert make_plan({**jobset, "status": status}, [], NOW).status["conditions"] == []
    failed, _ = fail(status, "JobCreationFailed", "no", NOW)
    assert [c["type"] for c in failed["conditions"]] == ["Failed"]


def test_planning_changes_nothing_that_it_was_given_and_says_the_same_twice() -> None:
    jobset = make_jobset(failurePolicy={"maxRestarts": 1, "rules": [{"action": "RestartJob"}]})
    jobs = make_jobs(jobset, all="Failed")
    before = repr((jobset, jobs))

    assert make_plan(jobset, jobs, NOW) == make_plan(jobset, jobs, NOW)
    assert repr((jobset, jobs)) == before
