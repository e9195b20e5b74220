"""How pods begin, live and end, as upstream's conformance suite asks: init containers, hooks, probes, restarts.

Pods that take a while start together, before the first test. Follows test/e2e/common/node and test/e2e/node.
"""

from __future__ import annotations

import inspect
import time
from typing import Any

import pytest

from support import grpc_health
from support.clusters import Cluster
from support.pods_api import (
    Object,
    Pods,
    condition,
    container_status,
    is_ready,
    phase,
    python,
    shell,
    speak_websocket,
    state,
)

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("pods")]

FOREVER = "trap exit TERM; sleep 1000 & wait"
COUNTED = """
echo hello >> /restart-count/restartCount
case $(wc -l < /restart-count/restartCount) in 1) exit 1 ;; 2) exit 0 ;; esac
trap exit TERM; sleep 1000 & wait
"""
SERVER = """
import http.server, time, sys
begun, healthy = time.monotonic(), float(sys.argv[1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sick = self.path == "/healthz" and time.monotonic() - begun > healthy
        self.send_response(500 if sick else 200)
        self.end_headers()
        print(self.path)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def counted(policy: str) -> tuple[Object, Object]:
    """Return a container that fails, then succeeds, then stays; and the rest of its pod."""
    mounts = [{"name": "restart-count", "mountPath": "/restart-count"}]
    volumes = [{"name": "restart-count", "emptyDir": {"medium": "Memory"}}]
    return shell("main", COUNTED, volumeMounts=mounts), {"restartPolicy": policy, "volumes": volumes}


def server(healthy_seconds: float = 1000, **more: Any) -> Object:
    """Return a container that answers HTTP; /healthz is well for so long."""
    container = python("main", SERVER, **more)
    return {**container, "command": [*container["command"], str(healthy_seconds)]}


def health_server(healthy_seconds: float, **more: Any) -> Object:
    """Return a container that answers the gRPC health protocol."""
    command = ["python3", "-c", inspect.getsource(grpc_health), "2333", str(healthy_seconds)]
    return {"name": "main", "image": "proa.local/python", "command": command, **more}


def probe(**action: Any) -> Object:
    """Return a probe that allows for no failure."""
    return {
        "periodSeconds": 1,
        "initialDelaySeconds": 1,
        "timeoutSeconds": 5,
        "failureThreshold": 1,
        **action,
    }


CAT = probe(exec={"command": ["cat", "/tmp/health"]})
HEALTHZ = probe(httpGet={"path": "/healthz", "port": 8080})
GRPC = probe(grpc={"port": 2333})
RESTARTED: dict[str, Object] = {
    "exec": shell("main", f"echo ok > /tmp/health; sleep 2; rm /tmp/health; {FOREVER}", livenessProbe=CAT),
    "http": server(2, livenessProbe=HEALTHZ),
    "grpc": health_server(2, livenessProbe=GRPC),
}
TCP = probe(tcpSocket={"port": 8080})


def patient(alive: Object) -> Object:
    """Return probes that give a busy machine time to start the container, and to answer."""
    return {
        "livenessProbe": {**alive, "failureThreshold": 3},
        "startupProbe": {**alive, "failureThreshold": 50},
    }


LEFT_ALONE: dict[str, Object] = {
    "exec": shell("main", f"echo ok > /tmp/health; {FOREVER}", **patient(CAT)),
    "http": server(**patient(HEALTHZ)),
    "tcp": server(0, **patient(TCP)),
    "grpc": health_server(1000, **patient(GRPC)),
}


@pytest.fixture(scope="module")
def begun(pods: Pods) -> Pods:
    """Return the pods, those that take a while on their way."""
    for policy in ("Always", "OnFailure", "Never"):
        container, spec = counted(policy)
        pods.run(f"counted-{policy.lower()}", container, **spec)
    for name, container in LEFT_ALONE.items():
        pods.run(f"left-{name}", container, restartPolicy="Always")
    for name, container in RESTARTED.items():
        pods.run(f"restarted-{name}", container, restartPolicy="Always")
    pods.run("slow", server(readinessProbe=probe(httpGet={"path": "/", "port": 8080}, initialDelaySeconds=3)))
    pods.run("never", server(readinessProbe=probe(exec={"command": ["false"]})))
    return pods


def test_init_containers_run_first(begun: Pods) -> None:
    """[sig-node] InitContainer should invoke init containers on a RestartNever pod [Conformance] [NodeConformance]
    [sig-node] InitContainer should invoke init containers on a RestartAlways pod [Conformance] [NodeConformance]"""
    inits = [shell("init1", "true"), shell("init2", "true")]
    begun.run("init-never", shell("run1", "true"), initContainers=inits)
    begun.run("init-always", shell("run1", FOREVER), initContainers=inits, restartPolicy="Always")

    once = begun.ended("init-never")
    always = begun.ready("init-always")

    assert (phase(once), phase(always)) == ("Succeeded", "Running")
    for pod in (once, always):
        assert condition(pod, "Initialized")["status"] == "True"
        for name in ("init1", "init2"):
            assert container_status(pod, name)["ready"] is True
            assert state(pod, name, "terminated")["exitCode"] == 0


def test_nothing_runs_after_an_init_container_that_failed(begun: Pods) -> None:
    """[sig-node] InitContainer should not start app containers if init containers fail on a RestartAlways pod
    [sig-node] InitContainer should not start app containers and fail the pod if init containers fail on a RestartNever
    pod [Conformance] [NodeConformance]"""
    begun.run(
        "init-fails-always",
        shell("run1", "true"),
        initContainers=[shell("init1", "false"), shell("init2", "true")],
        restartPolicy="Always",
    )
    begun.run(
        "init-fails-never",
        shell("run1", "true"),
        initContainers=[shell("init1", "true"), shell("init2", "false")],
    )

    failed = begun.ended("init-fails-never")
    assert phase(failed) == "Failed"
    assert state(failed, "init2", "terminated")["exitCode"] == 1
    assert state(failed, "run1", "waiting")["reason"] == "PodInitializing"
    told = condition(failed, "Initialized")
    assert (told["status"], told["reason"]) == ("False", "ContainersNotInitialized")

    pod = begun.until("init-fails-always", lambda pod: container_status(pod, "init1").get("restartCount"))
    told = condition(pod, "Initialized")
    assert (phase(pod), told["status"], told["reason"]) == ("Pending", "False", "ContainersNotInitialized")
    assert told["message"] == "containers with incomplete status: [init1 init2]"
    assert state(pod, "init2", "waiting")["reason"] == "PodInitializing"
    assert state(pod, "run1", "waiting")["reason"] == "PodInitializing"
    begun.delete("init-fails-always")


def test_a_command_that_always_fails(begun: Pods) -> None:
    """[sig-node] Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason
    [sig-node] Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete"""
    begun.run("fails", shell("main", "false"), restartPolicy="Always")

    pod = begun.until("fails", lambda pod: container_status(pod).get("lastState", {}).get("terminated"))

    last = container_status(pod)["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (1, "Error")
    begun.delete("fails")


def test_ephemeral_containers_look_into_a_running_pod(begun: Pods) -> None:
    """[sig-node] Ephemeral Containers will start an ephemeral container in an existing pod [Conformance]
    [sig-node] Ephemeral Containers should update the ephemeral containers in an existing pod [Conformance]"""
    assert begun.run("looked-into", shell("main", FOREVER))["metadata"]["generation"] == 1
    begun.ready("looked-into")
    path = f"{begun.path(name='looked-into')}/ephemeralcontainers"
    debugger = shell("debugger", "while true; do echo polo; sleep 0.1; done", stdin=True, tty=True)
    target = shell("target", "tr '\\0' ' ' < /proc/1/cmdline; echo", targetContainerName="main")

    pod = begun.api.patch(path, {"spec": {"ephemeralContainers": [debugger]}})

    assert pod["metadata"]["generation"] == 2
    begun.until("looked-into", lambda pod: state(pod, "debugger", "running"))
    assert begun.exec("looked-into", "/bin/echo", "marco", container="debugger") == "marco\n"
    log = begun.api.connect()
    log.request("GET", f"{begun.path(name='looked-into')}/log?container=debugger&follow=true")
    assert b"polo" in log.getresponse().readline()
    log.close()

    begun.api.patch(path, {"spec": {"ephemeralContainers": [target]}})

    pod = begun.until("looked-into", lambda pod: state(pod, "target", "terminated"))
    assert {c["name"] for c in begun.api.get(path)["spec"]["ephemeralContainers"]} == {"debugger", "target"}
    assert begun.log("looked-into", "target").strip() == f"sh -c {FOREVER}"
    assert (is_ready(pod), container_status(pod, "target")["restartCount"]) == (True, 0)
    begun.delete("looked-into")


def test_commands_and_logs_over_websockets(begun: Pods) -> None:
    """[sig-node] Pods should support remote command execution over websockets [Conformance] [NodeConformance]
    [sig-node] Pods should support retrieving logs from the container over websockets [Conformance]"""
    begun.run("websockets", shell("main", f"echo container is alive; {FOREVER}"))
    begun.ready("websockets")
    path = begun.path(name="websockets")

    query = "stderr=1&stdout=1&container=main&command=echo&command=remote+execution+test"
    messages = speak_websocket(begun.api, f"{path}/exec?{query}", "channel.k8s.io")
    log = b"".join(speak_websocket(begun.api, f"{path}/log?container=main", "binary.k8s.io"))

    assert b"".join(m[1:] for m in messages if m[:1] == b"\x01") == b"remote execution test\n"
    assert log == b"container is alive\n"
    begun.delete("websockets")


def test_hooks_run_when_a_container_starts_and_stops(begun: Pods) -> None:
    """[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart exec hook
    properly [Conformance] [NodeConformance]
    [sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart http hook
    properly [Conformance] [NodeConformance]
    [sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly
    [sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop http hook properly
    [sig-node] PreStop should call prestop when killing a pod [Conformance]"""
    begun.run("hooked", server())
    address = begun.ready("hooked")["status"]["podIP"]
    begun.exec("hooked", "sh", "-c", f"until curl -sf http://{address}:8080/up; do sleep 0.05; done")
    ask = f"import urllib.request as u; u.urlopen('http://{address}:8080/{{}}').read()"

    def by_exec(path: str) -> Object:
        return {"exec": {"command": ["python3", "-S", "-c", ask.format(path)]}}

    def by_http(path: str) -> Object:
        return {"httpGet": {"path": f"/{path}", "host": address, "port": 8080}}

    hooks = {
        "start-exec": {"postStart": by_exec("start-exec")},
        "start-http": {"postStart": by_http("start-http")},
        "stop-exec": {"preStop": by_exec("stop-exec")},
        "stop-http": {"preStop": by_http("stop-http")},
    }
    for name, hook in hooks.items():
        begun.run(name, shell("main", FOREVER, lifecycle=hook), terminationGracePeriodSeconds=15)
    for name in hooks:
        begun.ready(name)
    for name in hooks:
        begun.api.send("DELETE", begun.path(name=name), {})
    for name in hooks:
        begun.until_gone(name)

    assert {f"/{name}" for name in hooks} <= set(begun.log("hooked").splitlines())


def test_a_container_that_exits_is_restarted_as_its_policy_says(begun: Pods) -> None:
    """[sig-node] Container Runtime blackbox test when starting a container that exits should run with the expected
    status [Conformance] [NodeConformance]"""
    never = begun.ended("counted-never")
    assert (phase(never), container_status(never)["restartCount"], is_ready(never)) == ("Failed", 0, False)
    assert state(never, "main", "terminated")["exitCode"] == 1

    on_failure = begun.ended("counted-onfailure")
    assert (phase(on_failure), container_status(on_failure)["restartCount"]) == ("Succeeded", 1)
    assert not is_ready(on_failure)

    always = begun.until(
        "counted-always", lambda pod: container_status(pod)["restartCount"] >= 2 and is_ready(pod)
    )
    assert phase(always) == "Running"
    assert state(always, "main", "running")
    for policy in ("always", "onfailure", "never"):
        begun.delete(f"counted-{policy}")


@pytest.mark.parametrize("kind", RESTARTED)
def test_a_container_that_is_not_well_is_restarted(begun: Pods, kind: str) -> None:
    """[sig-node] Probing container should be restarted with a exec "cat /tmp/health" liveness probe [Conformance]
    [sig-node] Probing container should be restarted with a /healthz http liveness probe [Conformance]
    [sig-node] Probing container should be restarted with a GRPC liveness probe [Conformance] [NodeConformance]"""
    name = f"restarted-{kind}"

    begun.until(name, lambda pod: container_status(pod).get("restartCount", 0) >= 1)

    killed = begun.until_told(name, "Killing")
    assert killed["message"] == "Container main failed liveness probe, will be restarted"


def test_restarts_are_counted(begun: Pods) -> None:
    """[sig-node] Probing container should have monotonically increasing restart count [Conformance] [NodeConformance]:
    the first two, of which the second waits for 10 s."""
    counts: list[int] = []

    def has_all(pod: Object) -> bool:
        counts.append(container_status(pod).get("restartCount", 0))
        return counts[-1] >= 2

    begun.until("restarted-http", has_all)

    assert counts == sorted(counts)


def test_readiness_waits_for_its_delay(begun: Pods) -> None:
    """[sig-node] Probing container with readiness probe should not be ready before initial delay and never restart"""
    pod = begun.ready("slow")

    started = state(pod, "main", "running")["startedAt"]
    assert _seconds(condition(pod, "Ready")["lastTransitionTime"]) - _seconds(started) >= 3
    assert container_status(pod)["restartCount"] == 0


def _seconds(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def test_what_is_well_is_left_alone(begun: Pods) -> None:
    """[sig-node] Probing container should *not* be restarted with a exec "cat /tmp/health" liveness probe [Conformance]
    [sig-node] Probing container should *not* be restarted with a /healthz http liveness probe [Conformance]
    [sig-node] Probing container should *not* be restarted with a tcp:8080 liveness probe [Conformance]
    [sig-node] Probing container should *not* be restarted with a GRPC liveness probe [Conformance] [NodeConformance]
    [sig-node] Probing container with readiness probe that fails should never be ready and never restart"""
    begun.until_told("never", "Unhealthy")

    assert not is_ready(begun.get("never"))
    for name in ("never", *(f"left-{name}" for name in LEFT_ALONE)):
        pod = begun.get(name) if name == "never" else begun.ready(name)
        assert container_status(pod)["restartCount"] == 0, (name, begun.events(name))


def test_what_expands_to_no_subpath_holds_a_container_back(begun: Pods) -> None:
    """[sig-node] Variable Expansion should fail substituting values in a volume subpath with backticks [Conformance]
    [sig-node] Variable Expansion should fail substituting values in a volume subpath with absolute path [Conformance]
    [sig-node] Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle
    of a container [Conformance] [Slow]
    [sig-node] Variable Expansion should succeed in writing subpaths in container [Conformance]"""
    annotation = {"fieldRef": {"fieldPath": "metadata.annotations['mysubpath']"}}
    variables = [{"name": "POD_NAME", "value": "foo"}, {"name": "ANNOTATION", "valueFrom": annotation}]
    volumes = [{"name": "workdir", "emptyDir": {}}]

    def mounted(expression: str, variables: list[Object]) -> Object:
        mounts = [
            {"name": "workdir", "mountPath": "/subpath_mount", "subPathExpr": expression},
            {"name": "workdir", "mountPath": "/volume_mount"},
        ]
        return shell("main", FOREVER, env=variables, volumeMounts=mounts)

    for name, value in (("backticks", ".."), ("absolute", "/tmp")):
        begun.run(name, mounted("$(POD_NAME)", [{"name": "POD_NAME", "value": value}]), volumes=volumes)
    metadata = {"annotations": {"notmysubpath": "mypath"}}
    begun.run(
        "annotated", mounted("$(ANNOTATION)/$(POD_NAME)", variables), metadata=metadata, volumes=volumes
    )

    for name in ("backticks", "absolute", "annotated"):
        begun.until(name, is_misconfigured)

    path = begun.path(name="annotated")
    begun.api.patch(path, {"metadata": {"annotations": {"mysubpath": "mypath"}}})
    begun.ready("annotated")
    begun.exec("annotated", "touch", "/volume_mount/mypath/foo/test.log")
    begun.exec("annotated", "test", "-f", "/subpath_mount/test.log")
    begun.api.patch(path, {"metadata": {"annotations": {"mysubpath": "mynewpath"}}})
    assert is_ready(begun.get("annotated"))
    for name in ("backticks", "absolute", "annotated"):
        begun.delete(name)


def is_misconfigured(pod: Object) -> bool:
    return bool(state(pod, "main", "waiting").get("reason") == "CreateContainerConfigError")


LOG = """
import time
for number in range(100):
    print(f"{number} GET /api/v1/namespaces/kube-system/pods/x", flush=True)
    time.sleep(0.015)
time.sleep(1000)
"""


def test_kubectl_reads_and_filters_logs(cluster: Cluster, begun: Pods) -> None:
    """[sig-cli] Kubectl logs logs should be able to retrieve and filter logs [Conformance]"""

    def logs(*options: str) -> str:
        return cluster.kubectl("-n", begun.namespace, "logs", "generator", "main", *options).stdout

    begun.run("generator", python("main", LOG))
    begun.ready("generator")
    follow = begun.api.connect()
    follow.request("GET", f"{begun.path(name='generator')}/log?follow=true")
    answer = follow.getresponse()
    lines = [answer.readline().decode() for _ in range(100)]
    follow.close()

    assert "/api/v1/namespaces/kube-system" in lines[0]
    assert logs("--tail=1") == lines[-1]
    assert logs("--limit-bytes=1") == lines[0][:1]
    stamp, _, line = logs("--tail=1", "--timestamps").partition(" ")
    assert (stamp[10], stamp[-1], line) == ("T", "Z", lines[-1])
    recent, older = logs("--since=1s"), logs("--since=24h")
    assert len(recent) < len(older) == sum(map(len, lines))
    begun.delete("generator")
