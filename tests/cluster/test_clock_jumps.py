"""The server's clock is set, forward and back: pods keep their access, what was due happens, nothing ends."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.clusters import Cluster, ProaCommand
from support.pods_api import Api, Object, Pods, is_ready, python

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("survival")]

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
ASK = """
import ssl, time, urllib.error, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
tls = ssl.create_default_context(cafile=account + "ca.crt")
last = None
while True:
    token = open(account + "token").read()
    headers = {"Authorization": "Bearer " + token}
    asked = urllib.request.Request("https://kubernetes.default/api/v1/namespaces/x/pods", headers=headers)
    try:
        urllib.request.urlopen(asked, timeout=5, context=tls)
    except urllib.error.HTTPError as error:
        said = (error.code, token[-9:])  # 403: known, and may not; 401: not known
        if said != last:
            print(*said, flush=True)
        last = said
    time.sleep(0.1)
"""


@pytest.mark.skipif(LIBRARY is None, reason="not on this machine: apt install faketime")
def test_the_clock_may_jump(
    start_cluster: Callable[[ProaCommand], Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    with monkeypatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(LIBRARY))
        patch.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
        patch.setenv("FAKETIME_CACHE_DURATION", "1")
        patch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        patch.setenv("NO_FAKE_STAT", "1")
        cluster = start_cluster(ProaCommand(tmp_path / "home", sys.executable))
    with contextlib.closing(Api(cluster.kubeconfig)) as api:
        pods = Pods(api, "default")
        pods.run("asks", python("main", ASK), restartPolicy="Always")
        api.post("/apis/batch/v1/namespaces/default/cronjobs", daily())
        pods.ready("asks")
        first = until_known(pods, set())

        clock.write_text("+25h\n")
        until_a_job_ran(api)
        second = until_known(pods, {first})

        clock.write_text("+0\n")
        pods.run("later", python("main", "print(1)"))
        assert pods.output("later") == "1\n"
        until_known(pods, {first, second})
        pod = pods.get("asks")
        assert is_ready(pod)
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
        ready = {c["type"]: c["status"] for c in cluster.get("node", "proa-1")["status"]["conditions"]}
        assert ready["Ready"] == "True", json.dumps(ready)


def daily() -> Object:
    """Build a CronJob that runs at midnight."""
    template = {"spec": {"restartPolicy": "Never", "containers": [python("main", "print('ran')")]}}
    return {
        "metadata": {"name": "daily"},
        "spec": {
            "schedule": "0 0 * * *",
            "timeZone": "Etc/UTC",
            "jobTemplate": {"spec": {"template": template}},
        },
    }


def until_a_job_ran(api: Api) -> None:
    """Wait for the day's Job to succeed."""
    for event in api.watch("/apis/batch/v1/namespaces/default/jobs"):
        if (event["object"].get("status") or {}).get("succeeded"):
            return
    raise AssertionError("no Job has run")


def until_known(pods: Pods, before: set[str]) -> str:
    """Return the end of the first token, of others than those before, with which the pod is known to the server."""
    connection = pods.api.connect()
    with contextlib.closing(connection):
        connection.request("GET", f"{pods.path(name='asks')}/log?follow=true")
        answer = connection.getresponse()
        while True:
            code, token = answer.readline().decode().split()
            if code == "403" and token not in before:
                return token
