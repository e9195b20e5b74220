"""Names, labels and addresses of a JobSet's Jobs and pods: pure, of the JobSet alone.

Source: api/jobset/v1alpha2/jobset_types.go and pkg/constants of kubernetes-sigs/jobset.
"""

from __future__ import annotations

from hashlib import sha1

from proa.client.protocol import Object
from proa.ml.training.kinds import JOB_SET_NAME, REPLICATED_JOB_NAME
from proa.objects import meta

PREFIX = "jobset.sigs.k8s.io"
MAX_JOBS = 10_000
"""Of a JobSet: one that asks for more fails."""
CONTROLLER_NAME = f"{PREFIX}/jobset-controller"
"""`managedBy` of JobSets that are ours; others are left alone."""
RESTARTS = f"{PREFIX}/restart-attempt"
JOB_RESTARTS = f"{PREFIX}/job-restart-attempt"
JOB_INDEX = f"{PREFIX}/job-index"
EXCLUSIVE = "alpha.jobset.sigs.k8s.io/exclusive-topology"
NODE_SELECTOR_STRATEGY = "alpha.jobset.sigs.k8s.io/node-selector"
NAMESPACED_JOB = "alpha.jobset.sigs.k8s.io/namespaced-job"
NO_SCHEDULE = "alpha.jobset.sigs.k8s.io/no-schedule"


def replicated_jobs(jobset: Object) -> list[Object]:
    """Return spec.replicatedJobs."""
    found: list[Object] = jobset["spec"].get("replicatedJobs") or []
    return found


def make_job_name(jobset: Object, replicated: Object, index: int) -> str:
    """Return the name of one of a replicated job's Jobs."""
    return f"{meta.name(jobset)}-{replicated['name']}-{index}"


def subdomain(jobset: Object) -> str:
    """Return the name of the Service by which pods find one another."""
    return str((jobset["spec"].get("network") or {}).get("subdomain") or meta.name(jobset))


def has_host_names(jobset: Object) -> bool:
    """Tell whether pods are to be found by their names."""
    return (jobset["spec"].get("network") or {}).get("enableDNSHostnames") is True


def coordinator_endpoint(jobset: Object) -> str:
    """Return where the coordinator is found, "" where none is named."""
    found = jobset["spec"].get("coordinator")
    if not found:
        return ""
    pod = f"{found['replicatedJob']}-{found.get('jobIndex', 0)}-{found.get('podIndex', 0)}"
    return f"{meta.name(jobset)}-{pod}.{subdomain(jobset)}"


def job_restarts(jobset: Object, replicated: Object) -> list[int]:
    """Return how often each Job of a replicated job was restarted by itself."""
    for status in (jobset.get("status") or {}).get("replicatedJobsStatus") or ():
        if status["name"] == replicated["name"] and status.get("jobRestarts"):
            return list(status["jobRestarts"])
    return [0] * min(int(replicated["replicas"]), MAX_JOBS)


def make_labels(jobset: Object, replicated: Object, index: int) -> dict[str, str]:
    """Return what Jobs and pods carry as labels and, all the same, as annotations."""
    all_jobs = replicated_jobs(jobset)
    group = [job for job in all_jobs if job["groupName"] == replicated["groupName"]]
    name = make_job_name(jobset, replicated, index)
    found = {
        JOB_SET_NAME: meta.name(jobset),
        f"{PREFIX}/jobset-uid": meta.uid(jobset),
        REPLICATED_JOB_NAME: replicated["name"],
        RESTARTS: str((jobset.get("status") or {}).get("restarts") or 0),
        JOB_RESTARTS: str(job_restarts(jobset, replicated)[index]),
        f"{PREFIX}/replicatedjob-replicas": str(replicated["replicas"]),
        f"{PREFIX}/global-replicas": str(_total(all_jobs)),
        JOB_INDEX: str(index),
        f"{PREFIX}/job-key": sha1(
            f"{meta.namespace(jobset)}/{name}".encode(), usedforsecurity=False
        ).hexdigest(),
        f"{PREFIX}/job-global-index": str(_before(all_jobs, replicated) + index),
        f"{PREFIX}/group-name": replicated["groupName"],
        f"{PREFIX}/group-replicas": str(_total(group)),
        f"{PREFIX}/job-group-index": str(_before(group, replicated) + index),
    }
    if endpoint := coordinator_endpoint(jobset):
        found[f"{PREFIX}/coordinator"] = endpoint
    return found


def make_placement_annotations(jobset: Object, replicated: Object) -> dict[str, str]:
    """Return what is asked for of where Jobs run, of the JobSet or, before it, of the replicated job's template."""
    found: dict[str, str] = {}
    for holder in (jobset, replicated["template"]):
        asked = meta.annotations(holder)
        if EXCLUSIVE in asked:
            found.update({key: asked[key] for key in (EXCLUSIVE, NODE_SELECTOR_STRATEGY) if key in asked})
    return found


def make_claim_name(jobset: Object, template: Object) -> str:
    """Return the name of the claim that a template of spec.volumeClaimPolicies makes."""
    return f"{meta.name(template)}-{meta.name(jobset)}"


def _total(jobs: list[Object]) -> int:
    return sum(int(job["replicas"]) for job in jobs)


def _before(jobs: list[Object], replicated: Object) -> int:
    names = [job["name"] for job in jobs]
    return _total(jobs[: names.index(replicated["name"])])
