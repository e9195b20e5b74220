"""Say what is wrong with a JobSet that no schema can tell: the field, and what would work.

Pure. Follows pkg/webhooks/jobset_webhook.go of kubernetes-sigs/jobset.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proa.client.protocol import Object
from proa.ml.training.jobset.names import MAX_JOBS, coordinator_endpoint, make_job_name, replicated_jobs
from proa.ml.training.jobset.policies import RESTART_JOB, RESTART_JOB_FREELY
from proa.objects import meta
from proa.objects.structural.patterns import BadPattern, compiled

MAX_NAME = 63
MAX_SINGLE_RESTARTS = 1024
"""Jobs of a replicated job whose restarts can be counted one by one."""
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


def find_problems(jobset: Object) -> list[str]:
    """Return what is wrong, the field first; nothing where all is well."""
    return [*_names(jobset), *_dependencies(jobset), *_failure_policy(jobset), *_coordinator(jobset)]


def _names(jobset: Object) -> Iterator[str]:
    total = sum(int(job["replicas"]) for job in replicated_jobs(jobset))
    if total > MAX_JOBS:
        yield f"spec.replicatedJobs: {total} Jobs are more than {MAX_JOBS}; use pods of fewer Jobs (completions)"
    for index, job in enumerate(replicated_jobs(jobset)):
        name = make_job_name(jobset, job, max(int(job["replicas"]) - 1, 0))
        completions = ((job["template"].get("spec") or {}).get("completions")) or 1
        pod = f"{name}-{int(completions) - 1}-abcde"
        if len(name) > MAX_NAME:
            yield (
                f"spec.replicatedJobs[{index}].name: JobSet name is too long, job names generated for this JobSet "
                f"will exceed 63 characters ({name})"
            )
        elif len(pod) > MAX_NAME:
            yield (
                f"spec.replicatedJobs[{index}].name: JobSet name is too long, pod names generated for this JobSet "
                f"will exceed 63 characters ({pod})"
            )
        elif not _LABEL.fullmatch(name):
            yield (
                f"spec.replicatedJobs[{index}].name: {name} must be lower case letters, digits and '-', begin with a "
                "letter and end with a letter or digit"
            )


def _dependencies(jobset: Object) -> Iterator[str]:
    earlier: list[str] = []
    for index, job in enumerate(replicated_jobs(jobset)):
        for dependency in job.get("dependsOn") or ():
            if dependency["name"] not in earlier:
                yield (
                    f"spec.replicatedJobs[{index}].dependsOn: replicatedJob: {job['name']} cannot depend on "
                    f"replicatedJob: {dependency['name']}; it may on those before it: {', '.join(earlier) or 'none'}"
                )
        earlier.append(job["name"])


def _failure_policy(jobset: Object) -> Iterator[str]:
    policy = jobset["spec"].get("failurePolicy") or {}
    if policy.get("restartStrategy") == "InPlaceRestart":
        yield (
            "spec.failurePolicy.restartStrategy: InPlaceRestart is not offered here; Recreate and BlockingRecreate are"
        )
    known = {job["name"] for job in replicated_jobs(jobset)}
    names: set[str] = set()
    for index, rule in enumerate(policy.get("rules") or ()):
        path = f"spec.failurePolicy.rules[{index}]"
        name = rule.get("name") or f"failurePolicyRule{index}"
        if name in names:
            yield f"{path}.name: rule names are not unique: {name}"
        names.add(name)
        for target in rule.get("targetReplicatedJobs") or ():
            if target not in known:
                yield f"{path}.targetReplicatedJobs: {target} does not appear in .spec.ReplicatedJobs"
        for pattern in rule.get("onJobFailureMessagePatterns") or ():
            try:
                compiled(pattern)
            except BadPattern as error:
                yield f"{path}.onJobFailureMessagePatterns: {error}"
        if rule["action"] in (RESTART_JOB, RESTART_JOB_FREELY) and any(
            int(job["replicas"]) > MAX_SINGLE_RESTARTS for job in replicated_jobs(jobset)
        ):
            yield f"{path}.action: {rule['action']} is for replicated jobs of at most {MAX_SINGLE_RESTARTS} replicas"


def _coordinator(jobset: Object) -> Iterator[str]:
    found = jobset["spec"].get("coordinator")
    if not found:
        return
    job = next((job for job in replicated_jobs(jobset) if job["name"] == found["replicatedJob"]), None)
    if job is None:
        yield f"spec.coordinator.replicatedJob: {found['replicatedJob']} does not exist"
        return
    spec = job["template"].get("spec") or {}
    if spec.get("completionMode") != "Indexed" or spec.get("completions") is None:
        yield (
            "spec.coordinator: job for coordinator pod must be indexed completion mode, and completions number "
            "must be set"
        )
    elif not 0 <= int(found.get("podIndex") or 0) < int(spec["completions"]):
        yield f"spec.coordinator.podIndex: must be below {spec['completions']}, the completions of {job['name']}"
    if not 0 <= int(found.get("jobIndex") or 0) < int(job["replicas"]):
        yield f"spec.coordinator.jobIndex: must be below {job['replicas']}, the replicas of {job['name']}"
    if len(coordinator_endpoint(jobset)) > MAX_NAME:
        yield (
            f"spec.coordinator: {coordinator_endpoint(jobset)} is longer than 63 characters, which a label may not be; "
            f"give the JobSet {meta.name(jobset)} or its subdomain a shorter name"
        )
