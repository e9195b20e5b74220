"""JobSets by kubectl on real containers: names that pods find one another by, order, restarts, rest, and going away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
GUIDE = Path(__file__).parents[2] / "docs" / "training.md"
ASKS = """
import socket, sys, time, urllib.request
for _ in range(500):
    try:
        print(urllib.request.urlopen(f"http://{sys.argv[1]}:8000/", timeout=5).status, flush=True)
        break
    except OSError:
        time.sleep(0.02)
else:
    sys.exit("nobody answers")
"""
FAILS_ONCE = 'test "$ATTEMPT" = 1'


def make_replicated(name: str, command: list[str], **fields: Any) -> dict[str, Any]:
    attempt = {"fieldRef": {"fieldPath": "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"}}
    container = {
        "name": "main",
        "image": "proa.local/python",
        "command": command,
        "env": [{"name": "ATTEMPT", "valueFrom": attempt}],
    }
    pods = {"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]}}
    spec = {"backoffLimit": 0, "parallelism": 1, "completions": 1, "template": pods}
    return {"name": name, "template": {"spec": spec}, **fields}


def apply(cluster: Cluster, namespace: str, name: str, *replicated: dict[str, Any], **spec: Any) -> None:
    jobset = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name},
        "spec": {"replicatedJobs": list(replicated), **spec},
    }
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(jobset))


def wait(cluster: Cluster, namespace: str, what: str, state: str) -> None:
    cluster.kubectl("wait", "-n", namespace, what, f"--for={state}", "--timeout=120s")


def test_the_guides_jobset_runs_in_its_order(cluster: Cluster, namespace: str) -> None:
    blocks = GUIDE.read_text().split("```yaml\n")
    written = next(block.partition("```")[0] for block in blocks if block.startswith("apiVersion: jobset"))
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=written)
    wait(cluster, namespace, "jobset/pair", "condition=Completed")

    jobs = {job["metadata"]["name"]: job for job in cluster.get("jobs", "-n", namespace)["items"]}
    assert sorted(jobs) == ["pair-data-0", "pair-node-0", "pair-node-1"]
    fetched = jobs["pair-data-0"]["status"]["completionTime"]
    assert all(jobs[f"pair-node-{index}"]["metadata"]["creationTimestamp"] >= fetched for index in (0, 1))
    shown = cluster.kubectl("get", "-n", namespace, "jobset", "pair").stdout.split()
    assert shown[:5] == ["NAME", "TERMINALSTATE", "RESTARTS", "COMPLETED", "SUSPENDED"]
    assert yaml.safe_load(written)["metadata"]["name"] == "pair"


def test_pods_find_one_another_by_name_and_the_first_that_is_done_ends_all(
    cluster: Cluster, namespace: str
) -> None:
    apply(
        cluster,
        namespace,
        "talk",
        make_replicated("server", ["python", "-m", "http.server", "8000"]),
        make_replicated("client", ["python", "-c", ASKS, "talk-server-0-0.talk"]),
        successPolicy={"operator": "All", "targetReplicatedJobs": ["client"]},
    )
    wait(cluster, namespace, "jobset/talk", "condition=Completed")
    log = cluster.kubectl("logs", "-n", namespace, "job/talk-client-0").stdout
    assert log == "200\n"
    short = '{"spec": {"ttlSecondsAfterFinished": 1}}'
    cluster.kubectl("patch", "jobset/talk", "-n", namespace, "--type=merge", "-p", short)
    wait(cluster, namespace, "job/talk-server-0", "delete")
    wait(cluster, namespace, "jobset/talk", "delete")
    wait(cluster, namespace, "service/talk", "delete")


def test_a_failed_job_has_all_begin_anew_as_often_as_it_may(cluster: Cluster, namespace: str) -> None:
    apply(
        cluster,
        namespace,
        "again",
        make_replicated("a", ["sh", "-c", FAILS_ONCE]),
        make_replicated("b", ["sh", "-c", "sleep 0.2"]),
        failurePolicy={"maxRestarts": 1},
    )
    wait(cluster, namespace, "jobset/again", "condition=Completed")
    assert cluster.get("jobset", "again", "-n", namespace)["status"]["restarts"] == 1

    apply(
        cluster, namespace, "never", make_replicated("a", ["false"]), make_replicated("b", ["sleep", "600"])
    )
    wait(cluster, namespace, "jobset/never", "condition=Failed")
    wait(cluster, namespace, "job/never-b-0", "delete")


def test_one_that_rests_has_no_pods_until_it_goes_on(cluster: Cluster, namespace: str) -> None:
    apply(cluster, namespace, "rest", make_replicated("a", ["sleep", "600"]))
    first = _pod(cluster, namespace)
    wait(cluster, namespace, f"pod/{first}", "condition=Ready")

    _suspend(cluster, namespace, True)
    wait(cluster, namespace, "jobset/rest", "condition=Suspended")
    wait(cluster, namespace, f"pod/{first}", "delete")

    _suspend(cluster, namespace, False)
    wait(cluster, namespace, "jobset/rest", "condition=Suspended=false")
    second = _pod(cluster, namespace)
    assert second != first
    wait(cluster, namespace, f"pod/{second}", "condition=Ready")


def _suspend(cluster: Cluster, namespace: str, suspended: bool) -> None:
    change = json.dumps({"spec": {"suspend": suspended}})
    cluster.kubectl("patch", "-n", namespace, "jobset", "rest", "--type=merge", "-p", change)


def _pod(cluster: Cluster, namespace: str) -> str:
    """Return the JobSet's pod, once it has one."""
    labelled = ["-n", namespace, "-l", "jobset.sigs.k8s.io/jobset-name=rest"]
    cluster.kubectl("wait", "pod", *labelled, "--for=create", "--timeout=120s")
    found: str = cluster.get("pods", *labelled)["items"][0]["metadata"]["name"]
    return found
