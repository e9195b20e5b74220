"""Unmodified kubectl does what it does on every cluster: each verb of the first issue, on real containers."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from support.clusters import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

WEB = """
apiVersion: v1
kind: ConfigMap
metadata: {name: web-config}
data: {GREETING: hello}
---
apiVersion: v1
kind: Secret
metadata: {name: web-secret}
data: {TOKEN: b3Blbi1zZXNhbWU=}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: proa.local/python
          command: [python, -u, -c]
          args:
            - |
              import http.server, os
              os.makedirs("/srv", exist_ok=True); os.chdir("/srv")
              open("index.html", "w").write(os.environ["GREETING"] + " " + os.environ["TOKEN"])
              print("listening", flush=True)
              http.server.ThreadingHTTPServer(("", 8080), http.server.SimpleHTTPRequestHandler).serve_forever()
          ports: [{name: http, containerPort: 8080}]
          envFrom: [{configMapRef: {name: web-config}}, {secretRef: {name: web-secret}}]
          readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
"""


@pytest.fixture
def web(cluster: Cluster, namespace: str) -> str:
    """Return the namespace of a rolled out Deployment, Service, ConfigMap and Secret."""
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=WEB)
    cluster.kubectl("rollout", "status", "-n", namespace, "deploy/web", "--timeout=120s")
    return namespace


def fetch(port: int) -> str:
    """Return what the host's loopback serves on that port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
        return answer.read().decode()


def test_apply_twice_is_unchanged(cluster: Cluster, web: str) -> None:
    again = cluster.kubectl("apply", "-n", web, "-f", "-", stdin=WEB).stdout
    assert len(re.findall("unchanged", again)) == 4, again


def test_get_prints_tables_yaml_and_jsonpath(cluster: Cluster, web: str) -> None:
    wide = cluster.kubectl("get", "pods", "-n", web, "-o", "wide").stdout.splitlines()
    assert wide[0].split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert all("1/1" in line and "Running" in line and "proa-1" in line for line in wide[1:]), wide
    deployment = cluster.kubectl("get", "deploy", "web", "-n", web).stdout.splitlines()
    assert deployment[1].split()[:4] == ["web", "2/2", "2", "2"]
    assert "kind: Deployment" in cluster.kubectl("get", "deploy", "web", "-n", web, "-o", "yaml").stdout
    names = cluster.kubectl(
        "get", "pods", "-n", web, "-o", "jsonpath={.items[*].status.podIP}"
    ).stdout.split()
    assert len(names) == 2
    assert all(name.startswith("10.244.") for name in names)


def test_watch_shows_changes_as_they_come(cluster: Cluster, namespace: str) -> None:
    watch = subprocess.Popen(
        cluster.kubectl_command("get", "configmaps", "-n", namespace, "-w", "--no-headers"),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watch.stdout is not None
        assert "kube-root-ca.crt" in watch.stdout.readline()
        cluster.kubectl("create", "configmap", "late", "-n", namespace, "--from-literal=a=b")
        assert watch.stdout.readline().startswith("late ")
    finally:
        watch.terminate()
        watch.communicate(timeout=60)


def test_describe_tells_a_pods_story(cluster: Cluster, web: str) -> None:
    pod = cluster.get("pods", "-n", web)["items"][0]["metadata"]["name"]
    told = cluster.kubectl("describe", "pod", pod, "-n", web).stdout
    for word in (
        "Controlled By:  ReplicaSet/web-",
        "web-secret",
        "Scheduled",
        "Pulled",
        "Created",
        "Started",
    ):
        assert word in told, told
    assert f"Successfully assigned {web}/{pod} to proa-1" in told
    described = cluster.kubectl("describe", "deploy", "web", "-n", web).stdout
    assert "Scaled up replica set" in described
    assert "MinimumReplicasAvailable" in described


def test_logs_follow(cluster: Cluster, namespace: str) -> None:
    script = "import time\nfor i in range(3): print('line', i, flush=True); time.sleep(0.3)"
    cluster.kubectl(
        "run",
        "talker",
        "-n",
        namespace,
        "--image=proa.local/python",
        "--restart=Never",
        "--",
        "python",
        "-c",
        script,
    )
    cluster.kubectl(
        "wait",
        "-n",
        namespace,
        "pod/talker",
        "--for=jsonpath={.status.containerStatuses[0].containerID}",
        "--timeout=120s",
    )
    followed = cluster.kubectl("logs", "-f", "talker", "-n", namespace).stdout
    assert followed == "line 0\nline 1\nline 2\n"
    assert cluster.kubectl("logs", "talker", "-n", namespace, "--tail=1").stdout == "line 2\n"


def test_exec_with_a_terminal_and_exit_codes(cluster: Cluster, web: str) -> None:
    plain = cluster.kubectl("exec", "-n", web, "deploy/web", "--", "python", "-c", "print(6 * 7)")
    assert plain.stdout == "42\n"
    failed = cluster.kubectl(
        "exec", "-n", web, "deploy/web", "--", "python", "-c", "raise SystemExit(7)", check=False
    )
    assert failed.returncode == 7
    piped = cluster.kubectl(
        "exec", "-i", "-n", web, "deploy/web", "--", "python", "-c", "print(input()[::-1])", stdin="abc\n"
    )
    assert piped.stdout == "cba\n"
    assert talk_to_a_terminal(cluster, web) == "True 24 80"


def talk_to_a_terminal(cluster: Cluster, namespace: str) -> str:
    """Run `kubectl exec -it` on a terminal of 24 x 80 and return what the program inside sees of it."""
    script = "s = os.get_terminal_size(); print('saw', sys.stdin.isatty(), s.lines, s.columns, 'end')"
    ours, theirs = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    told = "import os, sys, time\nwhile not os.get_terminal_size().lines: time.sleep(0.05)"  # ours comes late
    program = f"{told}\n{script}"
    child = subprocess.Popen(
        cluster.kubectl_command("exec", "-it", "-n", namespace, "deploy/web", "--", "python", "-c", program),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 120
    while b"end" not in seen and time.monotonic() < deadline:
        if select.select([ours], [], [], 1)[0]:
            try:
                seen += os.read(ours, 4096)
            except OSError:
                break
    child.wait(60)
    os.close(ours)
    found = re.search(rb"saw (.*) end", seen)
    assert found, seen
    return found[1].decode().strip()


def test_port_forward_reaches_a_pod(cluster: Cluster, web: str) -> None:
    forward = subprocess.Popen(
        cluster.kubectl_command("port-forward", "-n", web, "deploy/web", ":8080"),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert forward.stdout is not None
        shown = re.match(r"Forwarding from 127.0.0.1:(\d+) -> 8080", forward.stdout.readline())
        assert shown
        port = int(shown[1])
        assert [fetch(port) for _ in range(5)] == ["hello open-sesame"] * 5
    finally:
        forward.terminate()
        forward.communicate(timeout=60)


def test_service_is_reached_by_node_port_and_from_pods_by_name(cluster: Cluster, web: str) -> None:
    service = cluster.get("service", "web", "-n", web)
    assert fetch(service["spec"]["ports"][0]["nodePort"]) == "hello open-sesame"
    script = (
        f"import urllib.request as r; print(r.urlopen('http://web.{web}.svc.cluster.local').read().decode())"
    )
    inside = cluster.kubectl("exec", "-n", web, "deploy/web", "--", "python", "-c", script)
    assert inside.stdout == "hello open-sesame\n"


def test_scale_set_image_rollout_history_and_undo(cluster: Cluster, web: str) -> None:
    cluster.kubectl("scale", "-n", web, "deploy/web", "--replicas=3")
    cluster.kubectl("rollout", "status", "-n", web, "deploy/web", "--timeout=120s")
    assert cluster.get("deploy", "web", "-n", web)["status"]["availableReplicas"] == 3
    cluster.kubectl("set", "image", "-n", web, "deploy/web", "web=python:3.11")
    cluster.kubectl("rollout", "status", "-n", web, "deploy/web", "--timeout=120s")
    history = cluster.kubectl("rollout", "history", "-n", web, "deploy/web").stdout
    assert re.findall(r"(?m)^\d+", history) == ["1", "2"]
    cluster.kubectl("rollout", "undo", "-n", web, "deploy/web")
    cluster.kubectl("rollout", "status", "-n", web, "deploy/web", "--timeout=120s")
    deployment = cluster.get("deploy", "web", "-n", web)
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "proa.local/python"
    assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_delete_takes_dependents_along_and_wait_sees_it(cluster: Cluster, web: str) -> None:
    pods = [p["metadata"]["name"] for p in cluster.get("pods", "-n", web)["items"]]
    cluster.kubectl("delete", "deploy", "web", "-n", web)
    cluster.kubectl("wait", "-n", web, *[f"pod/{name}" for name in pods], "--for=delete", "--timeout=120s")
    assert cluster.get("replicasets,pods", "-n", web)["items"] == []


def test_api_resources_lists_what_is_served(cluster: Cluster) -> None:
    listed = cluster.kubectl("api-resources").stdout
    for kind in (
        "Pod",
        "Deployment",
        "ReplicaSet",
        "Job",
        "Service",
        "EndpointSlice",
        "Lease",
        "PersistentVolumeClaim",
    ):
        assert kind in listed
    assert "Server Version: v1.36" in cluster.kubectl("version").stdout


def test_a_wrong_manifest_names_object_and_field(cluster: Cluster, namespace: str) -> None:
    wrong = WEB.replace("replicas: 2", "replicas: -1")
    refused = cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=wrong, check=False)
    assert refused.returncode == 1
    assert 'The Deployment "web" is invalid: spec.replicas: Invalid value: -1' in refused.stderr
    unknown = WEB.replace("replicas: 2", "replica: 2")
    strict = cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=unknown, check=False)
    assert 'unknown field "spec.replica"' in strict.stderr


def test_a_job_keeps_its_result_on_a_volume(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    def job(name: str, script: str) -> str:
        return json.dumps(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name},
                "spec": {
                    "template": {
                        "spec": {
                            "restartPolicy": "Never",
                            "containers": [
                                {
                                    "name": "main",
                                    "image": "proa.local/python",
                                    "command": ["python", "-c", script],
                                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                                }
                            ],
                            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
                        }
                    }
                },
            }
        )

    claim = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}"  # noqa: E501
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=claim)
    cluster.kubectl(
        "apply", "-n", namespace, "-f", "-", stdin=job("write", "open('/data/x', 'w').write('kept')")
    )
    cluster.kubectl("wait", "-n", namespace, "job/write", "--for=condition=complete", "--timeout=120s")
    cluster.kubectl("delete", "-n", namespace, "job/write")
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=job("read", "print(open('/data/x').read())"))
    cluster.kubectl("wait", "-n", namespace, "job/read", "--for=condition=complete", "--timeout=120s")
    assert cluster.kubectl("logs", "-n", namespace, "job/read").stdout == "kept\n"
    assert cluster.get("pvc", "data", "-n", namespace)["status"]["phase"] == "Bound"
