"""Jobs: what is refused, on creation, on a change, and in the status."""

from __future__ import annotations

import copy
from typing import Any

import pytest

Object = dict[str, Any]
TIME, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
REQUIRES_INDEXED = "requires indexed completion mode"
ACTIONS = '"Count", "FailIndex", "FailJob", "Ignore"'


def make_job(name: str = "j", **spec: Any) -> Object:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "app:1"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "uid": "u-1"},
        "spec": {"template": {"spec": pod}, **spec},
    }


def indexed(**spec: Any) -> Object:
    return make_job(**{"completionMode": "Indexed", "completions": 5, "parallelism": 2, **spec})


def failure_rule(**rule: Any) -> Object:
    return make_job(podFailurePolicy={"rules": [{"action": "Ignore", **rule}]})


def on_exit(*values: int, operator: str = "In", **more: Any) -> Object:
    return failure_rule(onExitCodes={"operator": operator, "values": list(values), **more})


def success_rule(**rule: Any) -> Object:
    return indexed(successPolicy={"rules": [rule]})


RULE = "spec.podFailurePolicy.rules[0]"
SUCCESS = "spec.successPolicy.rules[0]"
RULES: list[tuple[Object, list[str]]] = [
    (make_job(), []),
    (indexed(backoffLimitPerIndex=1, maxFailedIndexes=2), []),
    (make_job(managedBy="kueue.x-k8s.io/multikueue"), []),
    (make_job(managedBy="kueue"),
     ['spec.managedBy: Invalid value: "kueue": must be a domain-prefixed path (such as "acme.io/foo")']),
    (make_job(managedBy="a.io/" + "x" * 60), ["spec.managedBy: Too long: may not be more than 63 bytes"]),
    (make_job(backoffLimitPerIndex=1), [f"spec.backoffLimitPerIndex: Invalid value: 1: {REQUIRES_INDEXED}"]),
    (make_job(maxFailedIndexes=1),
     ["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
      f"spec.maxFailedIndexes: Invalid value: 1: {REQUIRES_INDEXED}"]),
    (indexed(backoffLimitPerIndex=1, maxFailedIndexes=6),
     ["spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions"]),
    (indexed(completions=100_001, backoffLimitPerIndex=1),
     ["spec.maxFailedIndexes: Required value: must be specified when completions is above 100000"]),
    (indexed(completions=100_001, backoffLimitPerIndex=1, maxFailedIndexes=1, parallelism=10_001),
     ["spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 "
      "and used with backoff limit per index"]),
    (make_job(completionMode="Some"),
     ['spec.completionMode: Unsupported value: "Some": supported values: "NonIndexed", "Indexed"']),
    (make_job(podReplacementPolicy="Never"),
     ['spec.podReplacementPolicy: Unsupported value: "Never": supported values: "Failed", "TerminatingOrFailed"']),
    ({**failure_rule(onExitCodes={"operator": "In", "values": [1]}), "metadata": {"name": "j", "uid": "u-1"}}, []),
    (failure_rule(), [f"{RULE}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"]),
    (failure_rule(onExitCodes={"operator": "In", "values": [1]}, onPodConditions=[{"type": "A"}]),
     [f"{RULE}: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"]),
    (failure_rule(action="", onPodConditions=[{"type": "A"}]),
     [f'{RULE}.action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]']),
    (failure_rule(action="Stop", onPodConditions=[{"type": "A"}]),
     [f'{RULE}.action: Unsupported value: "Stop": supported values: {ACTIONS}']),
    (failure_rule(action="FailIndex", onPodConditions=[{"type": "A"}]),
     [f'{RULE}.action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set']),
    (failure_rule(onPodConditions=[{"type": "A", "status": "Maybe"}]),
     [f'{RULE}.onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"']),
    (on_exit(), [f"{RULE}.onExitCodes.values: Invalid value: []: at least one value is required"]),
    (on_exit(0), [f"{RULE}.onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"]),
    (on_exit(0, operator="NotIn"), []),
    (on_exit(1, 1), [f"{RULE}.onExitCodes.values[1]: Duplicate value: 1"]),
    (on_exit(2, 1), [f"{RULE}.onExitCodes.values: Invalid value: [2,1]: must be ordered"]),
    (on_exit(1, operator="Is"),
     [f'{RULE}.onExitCodes.operator: Unsupported value: "Is": supported values: "In", "NotIn"']),
    (on_exit(1, containerName="c"), []),
    (on_exit(1, containerName="d"),
     [f'{RULE}.onExitCodes.containerName: Invalid value: "d": must be one of the container or initContainer names in '
      "the pod template"]),
    (make_job(podFailurePolicy={"rules": []}, podReplacementPolicy="TerminatingOrFailed"),
     ['spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"']),
    (make_job(successPolicy={"rules": [{"succeededCount": 1}]}),
     ['spec.successPolicy: Invalid value: {"Rules":[{"SucceededCount":1,"SucceededIndexes":null}]}: '
      + REQUIRES_INDEXED]),
    (success_rule(succeededIndexes="0,2-4", succeededCount=4), []),
    (indexed(successPolicy={"rules": []}),
     ["spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is "
      "specified"]),
    (success_rule(),
     [f"{SUCCESS}: Required value: at least one of succeededCount or succeededIndexes must be specified"]),
    (success_rule(succeededCount=6),
     [f"{SUCCESS}.succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified "
      "completions)"]),
    (success_rule(succeededIndexes="0,1", succeededCount=3),
     [f"{SUCCESS}.succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of indexes in the "
      "specified succeededIndexes field)"]),
    (success_rule(succeededIndexes="5"),
     [f'{SUCCESS}.succeededIndexes: Invalid value: "5": error parsing succeededIndexes: too large index: "5"']),
    (success_rule(succeededIndexes="a"),
     [f'{SUCCESS}.succeededIndexes: Invalid value: "a": error parsing succeededIndexes: cannot convert string to '
      'integer for index: "a"']),
    (success_rule(succeededIndexes="2,1"),
     [f'{SUCCESS}.succeededIndexes: Invalid value: "2,1": error parsing succeededIndexes: non-increasing order, '
      "previous: 2, current: 1"]),
    (success_rule(succeededIndexes="1-2-3"),
     [f'{SUCCESS}.succeededIndexes: Invalid value: "1-2-3": error parsing succeededIndexes: the fragment "1-2-3" '
      "violates the requirement that an index interval can have at most two parts separated by '-'"]),
    ({**indexed(), "metadata": {"name": "x" * 62, "uid": "u-1"}},
     [f'metadata.name: Invalid value: "{"x" * 62}": will not able to create pod with invalid DNS label: '
      f'{"x" * 62}-4']),
    (make_job(selector={"matchLabels": {"a": "b"}}),
     ['spec.selector: Invalid value: {"matchLabels":{"a":"b","batch.kubernetes.io/controller-uid":"u-1"}}: '
      "`selector` not auto-generated",
      'spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"u-1",'
      '"batch.kubernetes.io/job-name":"j","controller-uid":"u-1","job-name":"j"}: '
      "`selector` does not match template `labels`"]),
]  # fmt: skip


@pytest.mark.parametrize(("job", "expected"), RULES, ids=range(len(RULES)))
def test_a_job_is_refused_for(job: Object, expected: list[str], kinds: Any) -> None:
    assert kinds.problems(job) == expected


def test_a_label_of_the_template_that_says_another_job_is_refused(kinds: Any) -> None:
    job = make_job()
    job["spec"]["template"]["metadata"] = {"labels": {"job-name": "other"}}
    assert [p.partition(": Invalid")[0] for p in kinds.problems(job)] == [
        "spec.template.metadata.labels[job-name]"
    ]


def test_a_failure_policy_needs_pods_that_never_restart(kinds: Any) -> None:
    job = on_exit(1)
    job["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    path, detail = (
        "spec.template.spec.restartPolicy",
        'only "Never" is supported when podFailurePolicy is specified',
    )
    assert kinds.problems(job) == [f'{path}: Invalid value: "OnFailure": {detail}']


def test_the_template_of_a_cron_job_is_checked_like_a_job(kinds: Any) -> None:
    template = {"spec": on_exit(0)["spec"]}
    cron_job = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}}
    cron_job["spec"] = {"schedule": "0 0 * * *", "jobTemplate": template}
    path = "spec.jobTemplate.spec.podFailurePolicy.rules[0].onExitCodes.values[0]"
    assert kinds.problems(cron_job) == [f"{path}: Invalid value: 0: must not be 0 for the In operator"]


def spec_change(**fields: Any) -> Any:
    return lambda job: job["spec"].update(fields)


IMMUTABLE = "field is immutable"
CHANGES: list[tuple[Object, Any, list[str]]] = [
    (make_job(), spec_change(parallelism=3, suspend=True, backoffLimit=1), []),
    (make_job(completions=2), spec_change(completions=3), [f"spec.completions: Invalid value: 3: {IMMUTABLE}"]),
    (indexed(), spec_change(completions=6, parallelism=6), []),
    (indexed(), spec_change(completions=6),
     ["spec.completions: Invalid value: 6: can only be modified in tandem with spec.parallelism"]),
    (make_job(), spec_change(managedBy="a.io/b"), [f'spec.managedBy: Invalid value: "a.io/b": {IMMUTABLE}']),
    (indexed(), spec_change(backoffLimitPerIndex=1),
     [f"spec.backoffLimitPerIndex: Invalid value: 1: {IMMUTABLE}"]),
]  # fmt: skip


@pytest.mark.parametrize(("job", "change", "expected"), CHANGES, ids=range(len(CHANGES)))
def test_a_change_of_a_job_is_refused_for(job: Object, change: Any, expected: list[str], kinds: Any) -> None:
    assert kinds.update_problems(job, change) == expected


def conditions(*types: str) -> list[Object]:
    return [{"type": type, "status": "True"} for type in types]


def with_template(change: Any) -> Any:
    def apply(job: Object) -> None:
        change(job["spec"]["template"])

    return apply


def larger(template: Object) -> None:
    template["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "4"}, "limits": {"cpu": "4"}}


def elsewhere(template: Object) -> None:
    template["metadata"]["annotations"] = {"queue": "a"}
    template["spec"] |= {"nodeSelector": {"zone": "a"}, "tolerations": [{"operator": "Exists"}]}


def other(template: Object) -> None:
    template["spec"]["containers"][0]["image"] = "app:2"


STARTED: Object = {"startTime": TIME}
AT_REST = {
    "never started": (True, {}, True),
    "not suspended": (False, {}, False),
    "started": (True, STARTED, False),
    "stopped": (True, {**STARTED, "conditions": conditions("Suspended")}, True),
    "pods are left": (True, {"active": 1, "conditions": conditions("Suspended")}, False),
}


@pytest.mark.parametrize(("suspend", "status", "may_change"), AT_REST.values(), ids=AT_REST)
@pytest.mark.parametrize("change", [larger, elsewhere])
def test_what_a_job_at_rest_asks_of_nodes_may_change(
    suspend: bool, status: Object, may_change: bool, change: Any, kinds: Any
) -> None:
    old = {**kinds.create(make_job(suspend=suspend)), "status": status}
    new = copy.deepcopy(old)
    with_template(change)(new)
    causes = kinds.definition_of("Job").validate_update(new, old)
    assert [c.field for c in causes] == ([] if may_change else ["spec.template"])
    with_template(other)(new)
    causes = kinds.definition_of("Job").validate_update(new, old)
    assert [c.field for c in causes] == ["spec.template"]


def status_problems(kinds: Any, job: Object, before: Object, after: Object) -> list[str]:
    old = {**kinds.create(job), "status": before}
    new = {**copy.deepcopy(old), "status": after}
    causes = kinds.definition_of("Job").validate_status_update(new, old)
    return [f"{c.field}: {c.message}" for c in causes]


COMPLETE: Object = {
    "startTime": TIME,
    "completionTime": LATER,
    "succeeded": 1,
    "conditions": conditions("SuccessCriteriaMet", "Complete"),
}
RUNNING: Object = {"startTime": TIME, "active": 1, "ready": 1}
STATUSES: list[tuple[Object, Object, Object, list[str]]] = [
    (make_job(), RUNNING, COMPLETE, []),
    (make_job(), {}, {"active": -1, "startTime": TIME},
     ["status.active: Invalid value: -1: must be greater than or equal to 0"]),
    (make_job(), RUNNING, {**COMPLETE, "completionTime": None},
     ["status.completionTime: Required value: completionTime is required for Complete jobs"]),
    (make_job(), RUNNING, {**RUNNING, "completionTime": LATER},
     [f'status.completionTime: Invalid value: "{LATER}": cannot set completionTime when there is no Complete=True '
      "condition"]),
    (make_job(), {"startTime": LATER}, {**COMPLETE, "startTime": LATER, "completionTime": TIME},
     [f'status.completionTime: Invalid value: "{TIME}": completionTime cannot be set before startTime']),
    (make_job(), COMPLETE, {**COMPLETE, "completionTime": "2026-01-01T00:02:00Z"},
     ['status.completionTime: Invalid value: "2026-01-01T00:02:00Z": completionTime cannot be mutated']),
    (make_job(), RUNNING, {**COMPLETE, "active": 1}, ["status.active: Invalid value: 1: active>0 is invalid for "
                                                      "finished job"]),
    (make_job(), RUNNING, {**COMPLETE, "terminating": 1},
     ["status.terminating: Invalid value: 1: terminating>0 is invalid for finished job"]),
    (make_job(), RUNNING, {**RUNNING, "ready": 2},
     ["status.ready: Invalid value: 2: cannot set more ready pods than active"]),
    (make_job(), RUNNING, {**COMPLETE, "conditions": conditions("Complete")},
     ["status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true "
      "condition"]),
    (make_job(), RUNNING, {"startTime": TIME, "conditions": conditions("Failed")},
     ["status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"]),
    (make_job(), {"startTime": TIME, "failed": 2}, {"startTime": TIME, "failed": 1},
     ["status.failed: Invalid value: 1: cannot decrease the failed counter"]),
    (make_job(), COMPLETE, {**COMPLETE, "conditions": conditions("SuccessCriteriaMet"), "completionTime": None},
     ["status.conditions: Invalid value: cannot disable the terminal Complete=True condition"]),
    (make_job(), RUNNING, {"active": 1},
     ["status.startTime: Required value: startTime cannot be removed for unsuspended job"]),
    (make_job(suspend=True), RUNNING, {}, []),
    (indexed(), RUNNING, {**RUNNING, "completedIndexes": "0-2"}, []),
    (indexed(), RUNNING, {**RUNNING, "completedIndexes": "7"},
     ['status.completedIndexes: Invalid value: "7": error parsing completedIndexes: too large index: "7"']),
    (make_job(completions=3), RUNNING, {**RUNNING, "completedIndexes": "1"},
     ['status.completedIndexes: Invalid value: "1": cannot set non-empty completedIndexes when non-indexed completion '
      "mode"]),
    (indexed(backoffLimitPerIndex=1), RUNNING, {**RUNNING, "completedIndexes": "0-2", "failedIndexes": "2,4"},
     ['status.failedIndexes: Invalid value: "2,4": failedIndexes and completedIndexes overlap at index: 2']),
    (indexed(), RUNNING, {**RUNNING, "failedIndexes": ""},
     ['status.failedIndexes: Invalid value: "": cannot set non-null failedIndexes when backoffLimitPerIndex is null']),
    (make_job(), RUNNING, {**RUNNING, "uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["a", ""]}},
     ['status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"',
      'status.uncountedTerminatedPods.failed[1]: Invalid value: "": must not be empty']),
]  # fmt: skip


@pytest.mark.parametrize(("job", "before", "after", "expected"), STATUSES, ids=range(len(STATUSES)))
def test_a_status_is_refused_for(
    job: Object, before: Object, after: Object, expected: list[str], kinds: Any
) -> None:
    assert status_problems(kinds, job, before, after) == expected


def test_a_very_large_indexed_job_is_warned_of(kinds: Any) -> None:
    job = kinds.create(indexed(completions=100_001, parallelism=10_001))
    said = kinds.definition_of("Job").warnings(job, None)
    assert [warning.partition(": ")[0] for warning in said] == ["spec"]
