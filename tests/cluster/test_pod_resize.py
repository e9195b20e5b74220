"""kubectl changes what a running container may use, and the kernel holds it to that."""

from __future__ import annotations

import json
import time

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: grow}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: proa.local/python
      command: [sleep, "1000"]
      resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 200m, memory: 64Mi}}
      resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
"""
QUOTA = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max"


def test_a_pod_is_resized_in_place(cluster: Cluster, namespace: str) -> None:
    def kubectl(*arguments: str, stdin: str | None = None) -> str:
        return cluster.kubectl("-n", namespace, *arguments, stdin=stdin).stdout

    def resize(**resources: dict[str, str]) -> None:
        patch = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
        kubectl("patch", "pod", "grow", "--subresource", "resize", "-p", json.dumps(patch))

    def wait(path: str, wanted: str) -> None:
        end = time.monotonic() + 120
        while (found := kubectl("get", "pod", "grow", "-o", f"jsonpath={{{path}}}")) != wanted:
            assert time.monotonic() < end, f"{path} is {found!r}, not {wanted!r}"
            time.sleep(0.1)

    status = ".status.containerStatuses[0]"
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("wait", "pod/grow", "--for=condition=Ready", "--timeout=120s")

    resize(limits={"cpu": "500m"})
    wait(f"{status}.resources.limits.cpu", "500m")
    features = kubectl(
        "get", "node", "proa-1", "-o", r"jsonpath={.metadata.annotations.proa\.local/missing-features}"
    )
    if "cgroup-cpu" not in features:
        assert kubectl("exec", "grow", "--", "sh", "-c", QUOTA).strip() == "50000"

    resize(requests={"memory": "96Mi"}, limits={"memory": "128Mi"})
    wait(f"{status}.restartCount", "1")
    wait(f"{status}.resources.limits.memory", "128Mi")

    resize(requests={"cpu": "1000"}, limits={"cpu": "1000"})
    wait('.status.conditions[?(@.type=="PodResizePending")].reason', "Infeasible")
    assert kubectl("get", "pod", "grow", "-o", f"jsonpath={{{status}.resources.limits.cpu}}") == "500m"
    resize(requests={"cpu": "100m"}, limits={"cpu": "500m"})
    wait('.status.conditions[?(@.type=="PodResizePending")].reason', "")
    reasons = kubectl("get", "events", "-o", "jsonpath={.items[*].reason}").split()
    assert {"ResizeStarted", "ResizeCompleted", "ResizeInfeasible"} <= set(reasons)
