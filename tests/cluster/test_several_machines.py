"""A cluster on one machine and a node on another: joining, pods and services across, streams, and what goes wrong."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.machines import Machine, MachineCluster, two_machines
from support.processes import find_processes

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("several machines")]

NODE = "far"
GRACE = "8s"
TOLERATED_SECONDS = 1
WEB = """
import http.server, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(socket.gethostname().encode())
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200); self.end_headers(); self.wfile.write(str(len(body)).encode())
    def log_message(self, *arguments): pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    def server_bind(self):
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()
print("serving", flush=True)
Server(("", 8080), Handler).serve_forever()
"""
ASK = """
import json, ssl, time, urllib.request
names, deadline = set(), time.monotonic() + 90
while len(names) < 2 and time.monotonic() < deadline:
    names.add(urllib.request.urlopen("http://web", timeout=5).read().decode())
context = ssl.create_default_context(cafile="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
api = urllib.request.urlopen("https://kubernetes.default.svc/readyz", context=context, timeout=5).read()
sent = urllib.request.urlopen("http://{far}:8080", data=bytes(20_000_000), timeout=20).read()
print(json.dumps({{"names": sorted(names), "api": api.decode(), "sent": int(sent)}}))
"""


class Joined(NamedTuple):
    """Both machines; `invitation` is what was printed to be run on the other one."""

    cluster: MachineCluster
    near: Machine
    far: Machine
    invitation: list[str]


@pytest.fixture(scope="module")
def joined(kubectl_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    """A cluster that gives a silent node up soon, with web servers on its node and on another machine's."""
    with two_machines(tmp_path_factory.mktemp("machines"), sys.executable) as (near, far):
        near(
            "up", "--detach", "--listen", near.address, "--port", "6443", "--node-monitor-grace-period", GRACE
        )
        cluster = MachineCluster(near, kubectl_path, machine=near)
        try:
            printed = near("token", "create", "--print-join-command").stdout
            invitation = shlex.split(printed)[2:]
            far("join", "--detach", "--name", NODE, *invitation)
            cluster.kubectl("apply", "-f", "-", stdin=json.dumps(make_objects()))
            cluster.kubectl("rollout", "status", "daemonset/web", "--timeout=120s")
            yield Joined(cluster, near, far, invitation)
        finally:
            for machine in (far, near):
                machine("reset", "--yes", check=False)
        links = [
            sorted(
                line.split()[0].partition("@")[0]
                for line in machine.run("ip", "-br", "link").stdout.splitlines()
            )
            for machine in (near, far)
        ]
        assert links == [["lo", "wire"]] * 2
    assert not find_processes(str(near.home)) | find_processes(str(far.home))


def make_objects() -> dict[str, Any]:
    """Return a web server on each node, their Service, and a Deployment that leaves unreachable nodes soon."""
    labels = {"app": "web"}
    container = {
        "name": "web",
        "image": "proa.local/python",
        "command": ["python3", "-c", WEB],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    web = {"selector": {"matchLabels": labels}, "template": template}
    port = {"port": 80, "targetPort": 8080, "nodePort": 30080}
    service = {"type": "NodePort", "selector": labels, "ports": [port]}
    items = [
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "web"}, "spec": web},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service},
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def make_movable() -> dict[str, Any]:
    """Return a Deployment of one pod that likes the other machine, and leaves it when it is silent."""
    likes = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}
    preferred = [{"weight": 100, "preference": likes}]
    pod = {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "proa.local/python", "command": ["sleep", "3600"]}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}},
        "tolerations": [
            {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"}
            | {"tolerationSeconds": TOLERATED_SECONDS}
            for key in ("not-ready", "unreachable")
        ],
    }
    labels = {"app": "movable"}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "movable"}, "spec": spec}


def has_ipv6() -> bool:
    """Tell whether clusters have IPv6 here unless told otherwise."""
    return os.path.exists("/proc/net/if_inet6")


def wait_until(is_so: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what is_so says once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)
    return found


def pod_on(cluster: MachineCluster, node: str, app: str = "web") -> dict[str, Any]:
    """Return the pod of an app on a node."""
    found = cluster.get("pods", "-l", f"app={app}")["items"]
    return next(pod for pod in found if pod["spec"].get("nodeName") == node)


def ready_of(cluster: MachineCluster) -> str:
    """Return what the other machine's node is, by its condition Ready."""
    conditions = cluster.get("node", NODE)["status"]["conditions"]
    return str(next(c["status"] for c in conditions if c["type"] == "Ready"))


def server_of(machine: Machine) -> int:
    """Return the pid of what runs in a machine's home."""
    return int(json.loads((machine.home / "server.pid").read_text())["pid"])


def test_a_node_has_what_the_cluster_gives_and_says_where_it_is(joined: Joined) -> None:
    node = joined.cluster.get("node", NODE)
    second = ["fd00:10:244:21::/64"] if has_ipv6() else []
    assert node["spec"]["podCIDRs"] == ["10.244.33.0/24", *second]
    addresses = {(a["type"], a["address"]) for a in node["status"]["addresses"]}
    inner = {("InternalIP", ip) for ip in ("10.243.0.33", *(["fd00:10:243::21"] if has_ipv6() else []))}
    assert addresses == {*inner, ("ExternalIP", joined.far.address), ("Hostname", NODE)}
    conditions = {c["type"]: c["status"] for c in node["status"]["conditions"]}
    assert conditions["NetworkUnavailable"] == "False"
    said = json.loads(node["metadata"]["annotations"]["proa.local/overlay"])
    assert (said["type"], said["address"]) == ("vxlan", joined.far.address)
    requests = joined.cluster.get("csr")["items"]
    issued = {r["spec"]["signerName"] for r in requests if r["status"].get("certificate")}
    assert issued == {"kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"}
    key = joined.far.home / "pki" / "kubelet-client.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_pods_services_dns_and_the_api_are_reached_from_both_machines(joined: Joined) -> None:
    cluster = joined.cluster
    pods = {node: pod_on(cluster, node) for node in ("proa-1", NODE)}
    names = sorted(pod["metadata"]["name"] for pod in pods.values())
    for node, other in (("proa-1", NODE), (NODE, "proa-1")):
        addresses = [entry["ip"] for entry in pods[other]["status"]["podIPs"]]
        assert len(addresses) == 1 + has_ipv6()
        for address in addresses:
            ask = ASK.format(far=f"[{address}]" if ":" in address else address)
            said = cluster.kubectl("exec", pods[node]["metadata"]["name"], "--", "python3", "-c", ask).stdout
            assert json.loads(said) == {"names": names, "api": "ok", "sent": 20_000_000}
    for machine in (joined.near, joined.far):
        script = (
            f"import urllib.request; print(urllib.request.urlopen('http://{machine.address}:30080').read())"
        )
        assert "web-" in machine.run(sys.executable, "-c", script).stdout


def test_logs_exec_port_forward_copies_and_proxies_reach_the_other_machine(
    joined: Joined, tmp_path: Path
) -> None:
    cluster = joined.cluster
    name = pod_on(cluster, NODE)["metadata"]["name"]
    assert cluster.kubectl("logs", name).stdout == "serving\n"
    done = cluster.kubectl(
        "exec", "-i", name, "--", "sh", "-c", "cat; exit 3", stdin="to and fro", check=False
    )
    assert (done.returncode, done.stdout) == (3, "to and fro")
    refused = cluster.kubectl("exec", name, "-c", "other", "--", "true", check=False)
    assert f"container other is not valid for pod {name}" in refused.stderr
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(300_000))
    cluster.kubectl("cp", str(source), f"{name}:/tmp/copied")
    cluster.kubectl("cp", f"{name}:/tmp/copied", str(target))
    assert target.read_bytes() == source.read_bytes()
    assert (
        cluster.kubectl("get", "--raw", f"/api/v1/namespaces/default/pods/{name}:8080/proxy/").stdout == name
    )
    assert cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/healthz").stdout == "ok"
    pods = json.loads(cluster.kubectl("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/pods").stdout)
    assert name in {pod["metadata"]["name"] for pod in pods["items"]}
    command = cluster.kubectl_command("port-forward", name, ":8080")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarding:
        assert forwarding.stdout is not None
        port = forwarding.stdout.readline().split(" -> ")[0].rpartition(":")[2]
        script = (
            f"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{port}').read().decode())"
        )
        assert joined.near.run(sys.executable, "-c", script).stdout.strip() == name
        forwarding.terminate()


def test_a_container_is_attached_to_on_the_other_machine(joined: Joined) -> None:
    overrides = {"apiVersion": "v1", "spec": {"nodeName": NODE}}
    said = joined.cluster.kubectl(
        "run", "talker", "-i", "--rm", "--restart=Never", "--image=proa.local/python",
        f"--overrides={json.dumps(overrides)}", "--command", "--", "sh", "-c", "read line; sleep 1; echo got $line",
        stdin="a word\n",
    ).stdout  # fmt: skip
    assert "got a word" in said


def test_the_kubelets_own_port_asks_the_cluster_who_may(joined: Joined) -> None:
    token = joined.cluster.kubectl("create", "token", "default").stdout.strip()
    base = f"https://{joined.far.address}:10250"
    authority = joined.near.home / "pki" / "ca.crt"

    def ask(path: str, *more: str) -> tuple[str, str]:
        script = ASK_KUBELET.format(url=base + path, authority=authority, more=more)
        status, _, body = joined.near.run(sys.executable, "-c", script).stdout.partition(" ")
        return status, body

    assert ask("/pods") == ("401", "Unauthorized\n")
    status, body = ask("/pods", token)
    assert status == "403"
    assert body.startswith("Forbidden (user=system:serviceaccount:default:default, verb=get, resource=nodes")
    role = (
        "clusterrolebinding",
        "reader",
        "--clusterrole=system:kubelet-api-admin",
        "--serviceaccount=default:other",
    )
    joined.cluster.kubectl("create", "serviceaccount", "other")
    joined.cluster.kubectl("create", *role)
    other = joined.cluster.kubectl("create", "token", "other").stdout.strip()
    assert ask("/healthz", other) == ("200", "ok\n")
    assert json.loads(ask("/stats/summary", other)[1])["node"]["nodeName"] == NODE
    assert ask("/nothing", other)[0] == "404"


ASK_KUBELET = """
import ssl, urllib.request, urllib.error
context = ssl.create_default_context(cafile="{authority}")
headers = {{"Authorization": f"Bearer {{token}}" for token in {more!r}}}
try:
    answer = urllib.request.urlopen(urllib.request.Request("{url}", headers=headers), context=context)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
"""


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param(
            {"--token": "aaaaaa.0123456789abcdef"}, "does not know the token aaaaaa", id="unknown-token"
        ),
        pytest.param({"--token": "{id}.0123456789abcdef"}, "its second part is wrong", id="wrong-token"),
        pytest.param({"--ca-hash": "sha256:" + "0" * 64}, "this is another cluster", id="wrong-hash"),
        pytest.param({"--name": "proa-1"}, "has a node proa-1 that is Ready", id="name-taken"),
        pytest.param({"--server": "https://192.0.2.1:6444"}, "proa up --listen ADDRESS", id="nobody-there"),
        pytest.param({"--kubelet-port": "10250"}, "Address already in use", id="port-taken"),
    ],
)
def test_what_cannot_join_hears_why_and_leaves_nothing(
    joined: Joined, tmp_path: Path, changed: dict[str, str], words: str
) -> None:
    given = dict(zip(joined.invitation[::2], joined.invitation[1::2], strict=True))
    token_id = given["--token"].partition(".")[0]
    asked = {**given, "--name": "third", "--kubelet-port": "0", **changed}
    third = Machine(
        tmp_path / "third", sys.executable, namespace=joined.far.namespace, address=joined.far.address
    )
    options = [word.replace("{id}", token_id) for pair in asked.items() for word in pair]
    refused = third("join", "--detach", *options, check=False)
    assert refused.returncode == 1
    assert words in refused.stderr
    assert not third.home.exists()
    assert {n["metadata"]["name"] for n in joined.cluster.get("nodes")["items"]} == {"proa-1", NODE}


def test_killed_servers_leave_pods_alone_and_everything_follows_when_they_are_back(joined: Joined) -> None:
    cluster = joined.cluster
    before = pod_on(cluster, NODE)["status"]["containerStatuses"][0]["containerID"]
    os.kill(server_of(joined.far), signal.SIGKILL)
    nowhere = joined.far("join", "--detach", "--server", "https://192.0.2.1:6444", check=False)
    assert "proa up --listen ADDRESS" in nowhere.stderr
    assert "ready" in joined.far("join", "--detach", "--server", "https://192.0.2.1:6443").stdout
    assert joined.far.status()["nodes"][0]["name"] == NODE
    os.kill(server_of(joined.near), signal.SIGKILL)
    joined.near("up", "--detach")
    name = pod_on(cluster, NODE)["metadata"]["name"]
    assert pod_on(cluster, NODE)["status"]["containerStatuses"][0]["containerID"] == before
    assert wait_until(lambda: cluster.kubectl("exec", name, "--", "echo", "on", check=False).stdout) == "on\n"
    spec = {"nodeName": NODE, "restartPolicy": "Never"}
    container = {"name": "main", "image": "proa.local/python", "command": ["true"]}
    later = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "later"},
        "spec": {**spec, "containers": [container]},
    }
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(later))
    cluster.kubectl("wait", "pod/later", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")


def test_a_node_whose_supervisor_ends_is_reached_again(joined: Joined) -> None:
    cluster = joined.cluster
    noded = (joined.far.home / "nodes" / NODE / "noded.pid").read_text().split()[0]
    os.kill(int(noded), signal.SIGKILL)
    near = pod_on(cluster, "proa-1")["metadata"]["name"]

    def ask() -> bool:
        address = pod_on(cluster, NODE)["status"].get("podIP", "192.0.2.9")
        script = f"import urllib.request; urllib.request.urlopen('http://{address}:8080', timeout=2)"
        return cluster.kubectl("exec", near, "--", "python3", "-c", script, check=False).returncode == 0

    wait_until(lambda: pod_on(cluster, NODE)["status"]["containerStatuses"][0]["restartCount"] > 0)
    wait_until(ask)


def test_a_machine_that_is_cut_off_is_given_up_and_comes_back(joined: Joined) -> None:
    cluster = joined.cluster
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(make_movable()))
    cluster.kubectl("rollout", "status", "deployment/movable", "--timeout=120s")
    moved = pod_on(cluster, NODE, "movable")["metadata"]["name"]
    joined.far.cut()
    try:
        wait_until(lambda: ready_of(cluster) == "Unknown")
        taints = {t["key"] for t in cluster.get("node", NODE)["spec"]["taints"]}
        assert "node.kubernetes.io/unreachable" in taints
        cluster.kubectl("wait", "deployment/movable", "--for=condition=Available", "--timeout=120s")
        wait_until(
            lambda: (
                "proa-1"
                in {p["spec"].get("nodeName") for p in cluster.get("pods", "-l", "app=movable")["items"]}
            )
        )
    finally:
        joined.far.mend()
    wait_until(lambda: ready_of(cluster) == "True")
    wait_until(lambda: moved not in {p["metadata"]["name"] for p in cluster.get("pods")["items"]})
    name = pod_on(cluster, NODE)["metadata"]["name"]
    assert (
        wait_until(lambda: cluster.kubectl("exec", name, "--", "echo", "back", check=False).stdout)
        == "back\n"
    )


def test_a_pod_with_a_volume_of_this_machine_stays_here(joined: Joined) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    likes = make_movable()["spec"]["template"]["spec"]
    spec = {**likes, "restartPolicy": "Never", "volumes": [volume]}
    items = [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": claim},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "keeper"}, "spec": spec},
    ]
    joined.cluster.kubectl(
        "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    )
    joined.cluster.kubectl("wait", "pod/keeper", "--for=condition=Ready", "--timeout=120s")
    assert joined.cluster.get("pod", "keeper")["spec"]["nodeName"] == "proa-1"


def test_a_hosts_port_is_taken_on_the_machine_of_the_pod_alone(joined: Joined) -> None:
    container = {
        "name": "web",
        "image": "proa.local/python",
        "command": ["python3", "-c", WEB],
        "ports": [{"containerPort": 8080, "hostPort": 8999}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    spec = {"nodeName": NODE, "containers": [container], "terminationGracePeriodSeconds": 0}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "porter"}, "spec": spec}
    joined.cluster.kubectl("create", "-f", "-", stdin=json.dumps(pod))
    joined.cluster.kubectl("wait", "pod/porter", "--for=condition=Ready", "--timeout=120s")

    def ask(machine: Machine) -> str:
        script = f"import urllib.request; print(urllib.request.urlopen('http://{machine.address}:8999').read().decode())"
        return machine.run(sys.executable, "-c", script, check=False).stdout.strip()

    assert wait_until(lambda: ask(joined.far)) == "porter"
    assert ask(joined.near) == ""


def test_tokens_are_listed_and_removed_and_end(joined: Joined) -> None:
    made = joined.near("token", "create", "--ttl", "1s", "--description", "short").stdout.strip()
    gone = joined.near("token", "create").stdout.strip().partition(".")[0]
    assert gone in joined.near("token", "ls").stdout
    joined.near("token", "rm", gone)
    info = ("configmap", "-n", "kube-public", "cluster-info")
    wait_until(
        lambda: (
            not {f"jws-kubeconfig-{t}" for t in (gone, made[:6])} & joined.cluster.get(*info)["data"].keys()
        )
    )
    listed = wait_until(lambda: made[:6] not in (said := joined.near("token", "ls").stdout) and said)
    assert gone not in listed


def test_a_node_that_leaves_is_gone_from_both_machines(joined: Joined) -> None:
    assert "is no node of" in joined.far("leave").stdout
    assert not joined.far.home.exists()
    assert {n["metadata"]["name"] for n in joined.cluster.get("nodes")["items"]} == {"proa-1"}
    noded = (joined.near.home / "nodes" / "proa-1" / "noded.pid").read_text().split()[0]
    wait_until(lambda: "overlay" not in Path(f"/proc/{noded}/net/dev").read_text())
