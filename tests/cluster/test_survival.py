"""A killed server leaves pods serving; the next start finds them again; nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.clusters import Cluster, ProaCommand
from support.inventory import descendants
from support.processes import find_processes

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("survival")]

StartCluster = Callable[[ProaCommand], Cluster]

SERVER = """
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: proa.local/python
      command: [python, -u, -m, http.server, "8080"]
      readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
"""
MORTAL = """
apiVersion: v1
kind: Pod
metadata: {name: mortal}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: proa.local/python
      command: [python, -u, -c]
      args:
        - |
          import os, time
          print("born", flush=True)
          while not os.path.exists("/flag/go"): time.sleep(0.05)
          print("last words")
          raise SystemExit(42)
      volumeMounts: [{name: flag, mountPath: /flag}]
  volumes: [{name: flag, hostPath: {path: FLAG, type: Directory}}]
"""
ASK_FROM_A_POD = """
import ssl, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount"
token = {"Authorization": "Bearer " + open(account + "/token").read()}
tls = ssl.create_default_context(cafile=account + "/ca.crt")
version = urllib.request.Request("https://kubernetes.default/version", headers=token)
urllib.request.urlopen(version, timeout=5, context=tls)
urllib.request.urlopen("http://server.default.svc.cluster.local/", timeout=5)
"""


@pytest.fixture
def fresh(start_cluster: StartCluster, tmp_path: Path) -> Cluster:
    """Return a cluster of the test's own."""
    return start_cluster(ProaCommand(tmp_path / "home", sys.executable))


def processes_of(cluster: Cluster, text: str) -> set[int]:
    """Return the processes below this cluster's supervisor whose command line has `text`."""
    below = descendants(int((cluster.proa.home / "nodes/proa-1/noded.pid").read_text().split()[0]))
    return find_processes(text) & below


def kill(pid: int) -> None:
    """SIGKILL a process and wait until it has ended."""
    handle = os.pidfd_open(pid)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    assert select.select([handle], [], [], 30)[0]
    os.close(handle)


def namespaces_of(pids: set[int]) -> set[str]:
    """Return the network and mount namespaces that these processes are in."""
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in pids for kind in ("net", "mnt")}


def all_namespaces() -> set[str]:
    """Return the network and mount namespaces of every process on this machine."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found |= namespaces_of({int(entry.name)})
            except OSError:
                continue
    return found


def test_killing_the_server_leaves_pods_and_the_next_start_finds_their_exit_codes_and_logs(
    fresh: Cluster, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    flag.mkdir()
    fresh.kubectl("apply", "-f", "-", stdin=SERVER)
    fresh.kubectl("apply", "-f", "-", stdin=MORTAL.replace("FLAG", str(flag)))
    fresh.kubectl("wait", "pod/server", "pod/mortal", "--for=condition=Ready", "--timeout=120s")
    before = fresh.get("pod", "server")["status"]["containerStatuses"][0]
    processes = processes_of(fresh, "http.server")
    assert processes

    kill(fresh.proa.status()["pid"])
    assert fresh.proa("status", check=False).returncode == 1
    assert processes_of(fresh, "http.server") == processes
    (flag / "go").write_text("")
    fresh.proa("up", "--detach")

    fresh.kubectl("wait", "pod/mortal", "--for=jsonpath={.status.phase}=Failed", "--timeout=120s")
    ended = fresh.get("pod", "mortal")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 42
    assert fresh.kubectl("logs", "mortal").stdout == "born\nlast words\n"
    fresh.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=120s")
    after = fresh.get("pod", "server")["status"]["containerStatuses"][0]
    assert after["containerID"] == before["containerID"]
    assert after["restartCount"] == 0
    assert processes_of(fresh, "http.server") == processes


def test_a_start_that_fails_leaves_the_pods_of_a_killed_server_alone(fresh: Cluster) -> None:
    fresh.kubectl("apply", "-f", "-", stdin=SERVER)
    fresh.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=120s")
    processes = processes_of(fresh, "http.server")
    server = fresh.proa.status()
    kill(server["pid"])
    with socket.create_server(("127.0.0.1", int(server["server"].rpartition(":")[2]))):
        refused = fresh.proa("up", "--detach", check=False)
    assert refused.returncode == 1
    assert "--port 0" in refused.stderr
    assert processes_of(fresh, "http.server") == processes
    fresh.proa("up", "--detach")
    fresh.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=120s")
    assert processes_of(fresh, "http.server") == processes


def test_down_ends_everything_and_up_brings_it_back(fresh: Cluster) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    fresh.kubectl("apply", "-f", "-", stdin=SERVER)
    fresh.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=120s")
    pids = descendants(int((fresh.proa.home / "nodes/proa-1/noded.pid").read_text().split()[0]))
    ours = namespaces_of(pids) - namespaces_of({os.getpid()})
    groups = {
        g for pid in pids for g in re.findall(r":(/proa-[^/\n]+)", Path(f"/proc/{pid}/cgroup").read_text())
    }
    assert ours
    fresh.proa("down")
    assert not find_processes(str(fresh.proa.home))
    assert not ours & all_namespaces()
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert not [p for group in groups for p in Path("/sys/fs/cgroup").glob(f"*{group}")]

    fresh.proa("up", "--detach")
    fresh.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=120s")
    assert fresh.get("pod", "server")["status"]["containerStatuses"][0]["restartCount"] >= 0


def test_two_homes_run_side_by_side(fresh: Cluster, start_cluster: StartCluster, tmp_path: Path) -> None:
    other = start_cluster(ProaCommand(tmp_path / "other", sys.executable))
    fresh.kubectl("create", "namespace", "only-here")
    assert "only-here" not in json.dumps(other.get("namespaces"))
    for cluster in (fresh, other):
        cluster.kubectl("apply", "-f", "-", stdin=SERVER)
        cluster.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=120s")


def test_a_server_that_runs_is_not_started_twice(fresh: Cluster) -> None:
    again = fresh.proa("up", "--detach")
    assert again.stdout.startswith("already running: ")
    foreground = fresh.proa("up", check=False)
    assert foreground.returncode == 1
    assert "proa down" in foreground.stderr


def test_starts_and_stops_at_the_same_time_agree(tmp_path: Path) -> None:
    proa = ProaCommand(tmp_path / "home", sys.executable)
    with ThreadPoolExecutor() as pool:
        ups = [pool.submit(proa, "up", "--detach", "--port", "0") for _ in range(3)]
        said = sorted(up.result().stdout.split()[0] for up in ups)
    assert said == ["already", "already", "ready"]
    with ThreadPoolExecutor() as pool:
        for down in [pool.submit(proa, "down") for _ in range(3)]:
            assert down.result().returncode == 0
    assert not find_processes(str(proa.home))
    assert proa("status", check=False).returncode == 1


def test_an_ordinary_user_runs_pods_and_services(rootless: ProaCommand, start_cluster: StartCluster) -> None:
    cluster = start_cluster(rootless)
    cluster.kubectl("apply", "-f", "-", stdin=SERVER)
    cluster.kubectl("expose", "pod", "server", "--type=NodePort", "--port=80", "--target-port=8080")
    cluster.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=120s")
    port = cluster.get("service", "server")["spec"]["ports"][0]["nodePort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        assert answer.status == 200
    assert cluster.kubectl("exec", "server", "--", "id", "-u").stdout == "0\n"
    assert cluster.proa.status()["nodes"][0]["isolation"].startswith("rootless")
    rootless("reset", "--yes")
    assert not find_processes(str(rootless.home))


def test_when_noded_is_killed_the_server_starts_it_again_with_pods_services_dns_and_the_api(
    fresh: Cluster,
) -> None:
    fresh.kubectl("apply", "-f", "-", stdin=SERVER)
    fresh.kubectl("expose", "pod", "server", "--type=NodePort", "--port=80", "--target-port=8080")
    fresh.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=120s")
    port = fresh.get("service", "server")["spec"]["ports"][0]["nodePort"]
    fresh.kubectl("exec", "server", "--", "python", "-c", ASK_FROM_A_POD)
    noded = int((fresh.proa.home / "nodes/proa-1/noded.pid").read_text().split()[0])
    pods = descendants(noded) - {noded}

    os.kill(noded, signal.SIGKILL)
    restarted = "jsonpath={.status.containerStatuses[0].restartCount}=1"
    fresh.kubectl("wait", "pod/server", f"--for={restarted}", "--timeout=120s")
    fresh.kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=120s")

    assert not [pid for pid in pods if Path(f"/proc/{pid}").exists()]
    status = fresh.get("pod", "server")["status"]["containerStatuses"][0]
    assert status["lastState"]["terminated"]["exitCode"] == 137
    fresh.kubectl("exec", "server", "--", "python", "-c", ASK_FROM_A_POD)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        assert answer.status == 200


STATEFUL = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: proa.local/python
          command: [sh, -c, "echo started >> /data/log; exec sleep 600"]
          volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
"""


def test_a_stateful_set_keeps_its_data_over_restarts_of_its_pod_the_server_and_the_cluster(
    fresh: Cluster,
) -> None:
    def starts(count: int) -> None:
        fresh.kubectl("rollout", "status", "sts/db", "--timeout=120s")
        fresh.kubectl("wait", "pod/db-0", "--for=condition=Ready", "--timeout=120s")
        assert fresh.kubectl("exec", "db-0", "--", "cat", "/data/log").stdout == "started\n" * count

    fresh.kubectl("apply", "-f", "-", stdin=STATEFUL)
    starts(1)
    fresh.kubectl("delete", "pod/db-0")
    starts(2)
    kill(fresh.proa.status()["pid"])
    fresh.proa("up", "--detach")
    starts(2)
    fresh.proa("down")
    fresh.proa("up", "--detach")
    starts(3)
    fresh.kubectl("delete", "sts/db")
    fresh.kubectl("delete", "pvc/data-db-0", "--timeout=120s")
