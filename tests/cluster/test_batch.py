"""Jobs that come and go, and pods that must not go all at once, on real containers by unmodified kubectl."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

GUARDED = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: guarded}
spec:
  replicas: 2
  selector: {matchLabels: {app: guarded}}
  template:
    metadata: {labels: {app: guarded}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: proa.local/python, command: [sleep, "1000"]}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guarded}
spec: {minAvailable: 1, selector: {matchLabels: {app: guarded}}}
"""


def test_drain_waits_for_the_disruption_budget(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=GUARDED)
    cluster.kubectl("rollout", "status", "-n", namespace, "deploy/guarded", "--timeout=120s")
    cluster.kubectl(
        "wait",
        "-n",
        namespace,
        "pdb/guarded",
        "--for=jsonpath={.status.disruptionsAllowed}=1",
        "--timeout=120s",
    )
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    drain = ("drain", node, "--pod-selector=app=guarded", "--ignore-daemonsets")
    try:
        refused = cluster.kubectl(*drain, "--timeout=4s", check=False)
        assert refused.returncode == 1
        assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.stderr
        pods = cluster.get("pods", "-n", namespace, "-l", "app=guarded")["items"]
        assert sorted(pod["status"]["phase"] for pod in pods) == ["Pending", "Running"]
        cluster.kubectl("patch", "-n", namespace, "pdb/guarded", "-p", '{"spec": {"minAvailable": 0}}')
        drained = cluster.kubectl(*drain, "--timeout=120s").stdout
        assert f"node/{node} drained" in drained
    finally:
        cluster.kubectl("uncordon", node)
    cluster.kubectl("rollout", "status", "-n", namespace, "deploy/guarded", "--timeout=120s")


def test_a_cron_job_starts_a_job_by_itself_and_by_hand(cluster: Cluster, namespace: str) -> None:
    command = ("--", "python", "-c", "print('tick')")
    image = "--image=proa.local/python"
    cluster.kubectl("create", "-n", namespace, "cronjob", "tick", image, "--schedule=@every 1s", *command)
    cluster.kubectl("create", "-n", namespace, "job", "by-hand", "--from=cronjob/tick")
    end = time.monotonic() + 120
    while time.monotonic() < end:
        jobs = {job["metadata"]["name"]: job for job in cluster.get("jobs", "-n", namespace)["items"]}
        by_itself = [name for name in jobs if name.startswith("tick-")]
        if by_itself:
            break
    cluster.kubectl(
        "wait",
        "-n",
        namespace,
        "--for=condition=complete",
        "job/by-hand",
        f"job/{by_itself[0]}",
        "--timeout=120s",
    )
    found = json.loads(cluster.kubectl("get", "-n", namespace, "cronjob/tick", "-o", "json").stdout)
    assert found["status"]["lastScheduleTime"] >= found["metadata"]["creationTimestamp"]
    made = jobs[by_itself[0]]["metadata"]
    assert made["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].startswith("20")
    assert [owner["name"] for owner in made["ownerReferences"]] == ["tick"]
    assert "tick" in cluster.kubectl("logs", "-n", namespace, "job/by-hand").stdout


SLEEPING = """
apiVersion: batch/v1
kind: Job
metadata: {name: sleeping}
spec:
  parallelism: 2
  completions: 4
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: proa.local/python, command: [sleep, "1000"]}]
"""


def test_a_job_adopts_orphans_releases_strangers_and_goes_with_its_pods(
    cluster: Cluster, namespace: str
) -> None:
    """[sig-apps] Job should adopt matching orphans and release non-matching pods [Conformance]
    [sig-apps] Job should delete a job [Conformance]"""
    there = ("-n", namespace)
    cluster.kubectl("apply", *there, "-f", "-", stdin=SLEEPING)
    cluster.kubectl("wait", *there, "job/sleeping", "--for=jsonpath={.status.ready}=2", "--timeout=120s")
    pods = cluster.get("pods", *there, "-l", "job-name=sleeping")["items"]
    orphan = f"pod/{pods[0]['metadata']['name']}"
    remove = '[{"op": "remove", "path": "/metadata/ownerReferences"}]'
    cluster.kubectl("patch", *there, orphan, "--type=json", "-p", remove)
    owner = "jsonpath={.metadata.ownerReferences[0].name}"
    cluster.kubectl("wait", *there, orphan, f"--for={owner}=sleeping", "--timeout=120s")
    cluster.kubectl("label", *there, orphan, *(f"{key}-" for key in pods[0]["metadata"]["labels"]))

    def is_released() -> bool:
        return "ownerReferences" not in cluster.get(orphan, *there)["metadata"]

    until(is_released)
    assert "finalizers" not in cluster.get(orphan, *there)["metadata"]
    cluster.kubectl("delete", *there, "job/sleeping", "--cascade=foreground", "--timeout=120s")
    assert cluster.get("pods", *there, "-l", "job-name=sleeping")["items"] == []
    assert cluster.get(orphan, *there)["status"]["phase"] == "Running"


def until(is_true: Any) -> None:
    """Wait until a condition holds, for at most half a minute."""
    end = time.monotonic() + 90
    while not is_true():
        assert time.monotonic() < end


PROGRAM = "import os, sys; i = int(os.environ['JOB_COMPLETION_INDEX']); sys.exit(%s)"
DISRUPTION = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def make_indexed(name: str, program: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "proa.local/python", "command": ["python", "-c", PROGRAM % program]}
    pod = {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 0}
    common = {"completionMode": "Indexed", "completions": 4, "parallelism": 4, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {**common, **spec}}


def fails_on(action: str, *codes: int) -> dict[str, Any]:
    rule = {"action": action, "onExitCodes": {"operator": "In", "values": list(codes)}}
    return {"podFailurePolicy": {"rules": [rule, DISRUPTION]}}


ENDINGS = [
    (make_indexed("all", "0"), "Complete CompletionsReached", {"completedIndexes": "0-3", "succeeded": 4}),
    (
        make_indexed("per-index", "i % 2", backoffLimitPerIndex=0),
        "Failed FailedIndexes",
        {"completedIndexes": "0,2", "failedIndexes": "1,3", "succeeded": 2, "failed": 2},
    ),
    (
        make_indexed(
            "fail-index", "42 if i == 2 else 0", backoffLimitPerIndex=3, **fails_on("FailIndex", 42)
        ),
        "Failed FailedIndexes",
        {"completedIndexes": "0,1,3", "failedIndexes": "2", "failed": 1},
    ),
    (
        make_indexed("too-many", "1", backoffLimitPerIndex=0, maxFailedIndexes=1),
        "Failed MaxFailedIndexesExceeded",
        {},
    ),
    (
        make_indexed(
            "leader",
            "__import__('time').sleep(1000 * (i > 0))",
            successPolicy={"rules": [{"succeededIndexes": "0"}]},
        ),
        "Complete SuccessPolicy",
        {"completedIndexes": "0", "succeeded": 1},
    ),
    (
        make_indexed(
            "any",
            "__import__('time').sleep(1000 * (i > 1))",
            successPolicy={"rules": [{"succeededCount": 2}]},
        ),
        "Complete SuccessPolicy",
        {"completedIndexes": "0,1", "succeeded": 2},
    ),
    (
        make_indexed("fatal", "42 if i else __import__('time').sleep(1000)", **fails_on("FailJob", 42)),
        "Failed PodFailurePolicy",
        {},
    ),
]


def test_indexed_jobs_end_as_their_policies_say(cluster: Cluster, namespace: str) -> None:
    """[sig-apps] Job should create pods for an Indexed job with completion indexes and specified hostname [Conformance]
    [sig-apps] Job should execute all indexes despite some failing when using backoffLimitPerIndex
    [Conformance]
    [sig-apps] Job should mark indexes as failed when the FailIndex action is matched in podFailurePolicy
    [Conformance]
    [sig-apps] Job should terminate job execution when the number of failed indexes exceeds maxFailedIndexes
    [Conformance]
    [sig-apps] Job with successPolicy succeededIndexes rule should succeeded even when some indexes remain pending
    [Conformance]
    [sig-apps] Job with successPolicy succeededCount rule should succeeded even when some indexes remain pending
    [Conformance]
    [sig-apps] Job should allow to use the pod failure policy on exit code to fail the job early
    [Conformance]"""
    jobs = {"apiVersion": "v1", "kind": "List", "items": [job for job, _, _ in ENDINGS]}
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(jobs))
    for job, ending, expected in ENDINGS:
        kind, reason = ending.split()
        name = f"job/{job['metadata']['name']}"
        cluster.kubectl("wait", "-n", namespace, name, f"--for=condition={kind}", "--timeout=120s")
        status = cluster.get(name, "-n", namespace)["status"]
        found = next(condition for condition in status["conditions"] if condition["type"] == kind)
        assert found["reason"] == reason, name
        assert status | expected == status, name
        assert (status["terminating"], status["uncountedTerminatedPods"]) == (0, {}), name
    pods = cluster.get("pods", "-n", namespace, "-l", "job-name=all")["items"]
    assert sorted(pod["spec"]["hostname"] for pod in pods) == [f"all-{i}" for i in range(4)]


def test_an_evicted_pod_is_no_failure_where_the_policy_ignores_disruptions(
    cluster: Cluster, namespace: str
) -> None:
    """[sig-apps] Job should allow to use a pod failure policy to ignore failure matching on DisruptionTarget condition
    [Conformance]"""
    there = ("-n", namespace)
    program = "0 if os.path.exists('/shared/again') else (open('/shared/again', 'w'), __import__('time').sleep(1000))"
    job = make_indexed(
        "evicted", program, completions=1, parallelism=1, backoffLimit=0, **fails_on("FailJob", 9)
    )
    spec = job["spec"]["template"]["spec"]
    claim = {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}
    spec |= {"volumes": [claim]}
    spec["containers"][0]["volumeMounts"] = [{"name": "shared", "mountPath": "/shared"}]
    storage = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "shared"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    both = {"apiVersion": "v1", "kind": "List", "items": [storage, job]}
    cluster.kubectl("apply", *there, "-f", "-", stdin=json.dumps(both))
    cluster.kubectl("wait", *there, "job/evicted", "--for=jsonpath={.status.ready}=1", "--timeout=120s")
    name = cluster.get("pods", *there, "-l", "job-name=evicted")["items"][0]["metadata"]["name"]
    until(lambda: cluster.kubectl("exec", *there, name, "--", "ls", "/shared").stdout.split() == ["again"])
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    cluster.kubectl("wait", *there, "job/evicted", "--for=condition=Complete", "--timeout=120s")
    status = cluster.get("job/evicted", *there)["status"]
    assert (status["succeeded"], status.get("failed", 0)) == (1, 0)
