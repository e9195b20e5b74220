"""Jobs, sets and accounts with real containers, as upstream's conformance suite asks (test/e2e/apps, auth, kubectl)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from support.pods_api import Object, Pods, container_status, is_ready, phase, python, shell

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("pods")]

FAIL_ONCE = "if [ -r /data/foo ]; then exit 0; fi; touch /data/foo; exit 1"
HEALTHY = {"exec": {"command": ["test", "-f", "/tmp/healthy"]}}
NAMER = """
import http.server, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(socket.gethostname().encode())
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("", 9376), Handler).serve_forever()
"""
GUESTBOOK = """
import http.server, json, os, sys, threading, time, urllib.parse, urllib.request
role, port, kept, replicas = sys.argv[1], int(sys.argv[2]), {}, set()
def ask(url):
    return urllib.request.urlopen(url, timeout=5).read().decode()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        key, value = query.get("key", ""), query.get("value", "")
        words = urllib.parse.urlencode({"key": key, "value": value})
        if url.path == "/register":
            replicas.add(query["host"])
            answer = json.dumps(kept)
        elif role == "frontend" and query.get("cmd") == "set":
            answer = ask("http://agnhost-primary:6379/set?" + words)
        elif role == "frontend":
            answer = ask("http://agnhost-replica:6379/get?" + words)
        elif url.path == "/set":
            kept[key] = value
            for host in replicas:
                ask(f"http://{host}/set?{words}")
            answer = "Updated"
        else:
            answer = kept.get(key, "")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"data": answer}).encode())
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(("", port), Handler)
threading.Thread(target=server.serve_forever).start()
while role == "replica":
    try:
        host = os.environ["POD_IP"] + ":" + str(port)
        kept.update(json.loads(json.loads(ask("http://agnhost-primary:6379/register?host=" + host))["data"]))
        break
    except OSError:
        time.sleep(0.2)
open("/tmp/healthy", "w").close()
"""


def path_of(pods: Pods, group: str, kind: str, name: str = "") -> str:
    path = f"/apis/{group}/v1/namespaces/{pods.namespace}/{kind}"
    return f"{path}/{name}" if name else path


def until(pods: Pods, path: str, name: str, holds: Callable[[Object], Any]) -> Object:
    """Return an object once a condition on it holds."""
    for event in pods.api.watch(path, fieldSelector=f"metadata.name={name}"):
        found: Object = event["object"]
        if holds(found):
            return found
    raise AssertionError(f"{name} is not what it was to become: {json.dumps(found.get('status'))}")


def run_job(pods: Pods, name: str, container: Object, **spec: Any) -> Object:
    """Run a job to its end."""
    extra = spec.pop("volumes", [])
    policy = spec.pop("restartPolicy", "Never")
    template = {"spec": {"restartPolicy": policy, "containers": [container], "volumes": extra}}
    path = path_of(pods, "batch", "jobs")
    pods.api.post(path, {"metadata": {"name": name}, "spec": {"template": template, **spec}})
    return until(pods, path, name, lambda job: any(holds(job, end) for end in ("Complete", "Failed")))


def holds(found: Object, type: str) -> bool:
    conditions = found.get("status", {}).get("conditions", ())
    return any(c["type"] == type and c["status"] == "True" for c in conditions)


def test_a_job_whose_tasks_fail_once_completes(pods: Pods) -> None:
    """[sig-apps] Job should run a job to completion when tasks sometimes fail and are locally restarted"""
    mounts = [{"name": "data", "mountPath": "/data"}]
    job = run_job(
        pods,
        "fail-once-local",
        shell("c", FAIL_ONCE, volumeMounts=mounts),
        volumes=[{"name": "data", "emptyDir": {}}],
        restartPolicy="OnFailure",
        parallelism=2,
        completions=4,
        backoffLimit=6 * 4,
    )

    assert (holds(job, "Complete"), job["status"]["succeeded"]) == (True, 4)
    found = pods.api.get(f"{pods.path()}?labelSelector=job-name%3Dfail-once-local")["items"]
    succeeded = [pod for pod in found if phase(pod) == "Succeeded"]
    assert [container_status(pod)["restartCount"] for pod in succeeded] == [1] * 4


def test_a_job_succeeds_when_all_of_its_indexes_have(pods: Pods) -> None:
    """[sig-apps] Job with successPolicy should succeeded when all indexes succeeded [Conformance]"""
    job = run_job(
        pods,
        "all-indexes",
        shell("c", "exit 0"),
        completionMode="Indexed",
        parallelism=2,
        completions=2,
        successPolicy={"rules": [{"succeededIndexes": "0-1"}]},
    )

    assert holds(job, "SuccessCriteriaMet")
    assert holds(job, "Complete")
    assert job["status"]["completedIndexes"] == "0,1"


def make_set(pods: Pods, name: str, **spec: Any) -> None:
    """Create a StatefulSet of pods that are healthy once a test says so."""
    labels = {"app": name}
    pods.add("services", name, spec={"clusterIP": "None", "selector": labels, "ports": [{"port": 80}]})
    container = shell(
        "webserver",
        "touch /tmp/healthy; trap exit TERM; sleep 1000 & wait",
        readinessProbe={**HEALTHY, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 5},
    )
    template = {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }
    spec = {"serviceName": name, "selector": {"matchLabels": labels}, "template": template, **spec}
    pods.api.post(path_of(pods, "apps", "statefulsets"), {"metadata": {"name": name}, "spec": spec})


def scale(pods: Pods, name: str, replicas: int) -> None:
    path = path_of(pods, "apps", "statefulsets", name)
    pods.api.patch(f"{path}/scale", {"spec": {"replicas": replicas}}, kind="merge")


def until_replicas(pods: Pods, name: str, **wanted: int) -> Object:
    def has_all(found: Object) -> bool:
        status = found.get("status", {})
        is_seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return is_seen and all(status.get(key, 0) == number for key, number in wanted.items())

    return until(pods, path_of(pods, "apps", "statefulsets"), name, has_all)


def test_a_set_scales_in_order_and_halts_at_an_unhealthy_pod(pods: Pods) -> None:
    """[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Scaling should happen in predictable
    order and halt if any stateful pod is unhealthy [Conformance] [Slow]"""
    make_set(pods, "ordered", replicas=1)
    events = pods.api.watch(pods.path(), labelSelector="app=ordered")
    pods.ready("ordered-0")

    pods.exec("ordered-0", "rm", "/tmp/healthy")
    pods.until("ordered-0", lambda pod: not is_ready(pod))
    scale(pods, "ordered", 3)
    until_replicas(pods, "ordered", replicas=1, readyReplicas=0)
    assert [e["metadata"]["name"] for e in _pods_of(pods, "ordered")] == ["ordered-0"]
    pods.exec("ordered-0", "touch", "/tmp/healthy")
    until_replicas(pods, "ordered", replicas=3, readyReplicas=3)

    pods.exec("ordered-0", "rm", "/tmp/healthy")
    pods.until("ordered-0", lambda pod: not is_ready(pod))
    scale(pods, "ordered", 0)
    until_replicas(pods, "ordered", replicas=3, readyReplicas=2)
    assert len(_pods_of(pods, "ordered")) == 3
    pods.exec("ordered-0", "touch", "/tmp/healthy")
    until_replicas(pods, "ordered", replicas=0)

    steps = [f"{e['type']} {e['object']['metadata']['name']}" for e in _until_gone(events, "ordered-0")]
    begun = [step for step in steps if step.startswith("ADDED")]
    ended = [step for step in steps if step.startswith("DELETED")]
    assert begun == [f"ADDED ordered-{number}" for number in (0, 1, 2)]
    assert ended == [f"DELETED ordered-{number}" for number in (2, 1, 0)]


def _pods_of(pods: Pods, app: str) -> list[Object]:
    found: list[Object] = pods.api.get(f"{pods.path()}?labelSelector=app%3D{app}")["items"]
    return found


def _until_gone(events: Any, name: str) -> list[Object]:
    seen = []
    for event in events:
        seen.append(event)
        if event["type"] == "DELETED" and event["object"]["metadata"]["name"] == name:
            break
    return seen


def test_a_set_may_scale_all_at_once(pods: Pods) -> None:
    """[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Burst scaling should run to completion
    even with unhealthy pods [Conformance] [Slow]"""
    make_set(pods, "burst", replicas=1, podManagementPolicy="Parallel")
    pods.ready("burst-0")

    pods.exec("burst-0", "rm", "/tmp/healthy")
    pods.until("burst-0", lambda pod: not is_ready(pod))
    scale(pods, "burst", 3)
    until_replicas(pods, "burst", replicas=3, readyReplicas=2)
    pods.exec("burst-0", "touch", "/tmp/healthy")
    until_replicas(pods, "burst", replicas=3, readyReplicas=3)

    pods.exec("burst-0", "rm", "/tmp/healthy")
    pods.until("burst-0", lambda pod: not is_ready(pod))
    scale(pods, "burst", 0)
    until_replicas(pods, "burst", replicas=0)


@pytest.mark.parametrize(
    ("group", "kind", "selector"),
    [
        ("apps", "replicasets", {"matchLabels": {"name": "replicasets"}}),
        ("", "replicationcontrollers", {"name": "replicationcontrollers"}),
    ],
    ids=["ReplicaSet", "ReplicationController"],
)
def test_each_replica_serves(pods: Pods, group: str, kind: str, selector: Object) -> None:
    """[sig-apps] ReplicaSet should serve a basic image on each replica with a public image [Conformance]
    [sig-apps] ReplicationController should serve a basic image on each replica with a public image [Conformance]"""
    probe = {"httpGet": {"path": "/", "port": 9376}, "periodSeconds": 1}
    template = {
        "metadata": {"labels": {"name": kind}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [python("main", NAMER, readinessProbe=probe)],
        },
    }
    path = path_of(pods, group, kind) if group else pods.path(kind)
    body = {"metadata": {"name": kind}, "spec": {"replicas": 2, "selector": selector, "template": template}}
    pods.api.post(path, body)

    until(pods, path, kind, lambda found: found.get("status", {}).get("readyReplicas") == 2)

    replicas = pods.api.get(f"{pods.path()}?labelSelector=name%3D{kind}")["items"]
    assert len(replicas) == 2
    for replica in replicas:
        name = replica["metadata"]["name"]
        answer = pods.api.send("GET", f"{pods.path(name=f'{name}:9376')}/proxy/")
        assert answer.decode() == name
    pods.api.send("DELETE", f"{path}/{kind}", {"propagationPolicy": "Background"})


TOKENS = """
import os
for folder in ("/var/run/secrets/kubernetes.io/serviceaccount", "/projected"):
    for name in ("token", "ca.crt", "namespace"):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            print(path, open(path).read().replace("\\n", "|"))
"""


def test_tokens_are_mounted(pods: Pods) -> None:
    """[sig-auth] ServiceAccounts should mount an API token into pods [Conformance]
    [sig-auth] ServiceAccounts should mount projected service account token [Conformance]"""
    pods.add("serviceaccounts", "mounted")
    source = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600, "audience": "somebody"}}
    pods.run(
        "tokens",
        python("main", TOKENS, volumeMounts=[{"name": "projected", "mountPath": "/projected"}]),
        serviceAccountName="mounted",
        volumes=[{"name": "projected", "projected": {"sources": [source]}}],
    )

    found = dict(line.split(" ", 1) for line in pods.output("tokens").splitlines())

    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert found[f"{account}/namespace"] == pods.namespace
    authority = pods.api.get(pods.path("configmaps", "kube-root-ca.crt"))["data"]["ca.crt"]
    assert found[f"{account}/ca.crt"] == authority.replace("\n", "|")
    for path, audiences in ((f"{account}/token", None), ("/projected/token", ["somebody"])):
        spec = {"token": found[path], **({"audiences": audiences} if audiences else {})}
        review = pods.api.post("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": spec})["status"]
        assert review["user"]["username"] == f"system:serviceaccount:{pods.namespace}:mounted"
        assert review["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["tokens"]


def test_a_guestbook_works(pods: Pods) -> None:
    """[sig-cli] Kubectl client Guestbook application should create and stop a working application [Conformance]"""
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    roles = {
        "agnhost-primary": ("primary", 6379),
        "agnhost-replica": ("replica", 6379),
        "frontend": ("frontend", 80),
    }
    deployments = path_of(pods, "apps", "deployments")
    for name, (role, port) in roles.items():
        container = python("main", GUESTBOOK, env=[address], readinessProbe={**HEALTHY, "periodSeconds": 1})
        container["command"] += [role, str(port)]
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
        }
        pods.add("services", name, spec={"selector": {"app": name}, "ports": [{"port": port}]})
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
        pods.api.post(deployments, {"metadata": {"name": name}, "spec": spec})
    for name in roles:
        until(pods, deployments, name, lambda found: found.get("status", {}).get("readyReplicas") == 1)
        ready = "endpoints[0].conditions.ready"
        slices = f"/apis/discovery.k8s.io/v1/namespaces/{pods.namespace}/endpointslices"
        wanted = pods.api.watch(slices, labelSelector=f"kubernetes.io/service-name={name}")
        assert any(_is_served(event["object"]) for event in wanted), (name, ready)

    def ask(query: str) -> str:
        answer = pods.api.get(f"{pods.path('services', 'frontend')}/proxy/guestbook?{query}")["data"]
        return str(json.loads(answer)["data"])

    assert ask("cmd=get&key=messages") == ""
    assert ask("cmd=set&key=messages&value=TestEntry") == "Updated"
    assert re.fullmatch("TestEntry", ask("cmd=get&key=messages"))
    for name in roles:
        pods.api.send("DELETE", f"{deployments}/{name}", {"propagationPolicy": "Background"})


def _is_served(slice: Object) -> bool:
    return any(endpoint["conditions"].get("ready") for endpoint in slice.get("endpoints") or ())
