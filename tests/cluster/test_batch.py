"""Jobs that come and go, and pods that must not go all at once, on real containers by unmodified kubectl."""

from __future__ import annotations

import json
import time

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
    cluster.kubectl("rollout", "status", "-n", namespace, "deploy/guarded", "--timeout=60s")
    cluster.kubectl(
        "wait",
        "-n",
        namespace,
        "pdb/guarded",
        "--for=jsonpath={.status.disruptionsAllowed}=1",
        "--timeout=30s",
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
        drained = cluster.kubectl(*drain, "--timeout=60s").stdout
        assert f"node/{node} drained" in drained
    finally:
        cluster.kubectl("uncordon", node)
    cluster.kubectl("rollout", "status", "-n", namespace, "deploy/guarded", "--timeout=60s")


def test_a_cron_job_starts_a_job_by_itself_and_by_hand(cluster: Cluster, namespace: str) -> None:
    command = ("--", "python", "-c", "print('tick')")
    image = "--image=proa.local/python"
    cluster.kubectl("create", "-n", namespace, "cronjob", "tick", image, "--schedule=@every 1s", *command)
    cluster.kubectl("create", "-n", namespace, "job", "by-hand", "--from=cronjob/tick")
    end = time.monotonic() + 60
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
        "--timeout=60s",
    )
    found = json.loads(cluster.kubectl("get", "-n", namespace, "cronjob/tick", "-o", "json").stdout)
    assert found["status"]["lastScheduleTime"] >= found["metadata"]["creationTimestamp"]
    made = jobs[by_itself[0]]["metadata"]
    assert made["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].startswith("20")
    assert [owner["name"] for owner in made["ownerReferences"]] == ["tick"]
    assert "tick" in cluster.kubectl("logs", "-n", namespace, "job/by-hand").stdout
