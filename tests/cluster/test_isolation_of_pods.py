"""What pods ask of their isolation, on real containers: RuntimeClasses, users, processes, profiles, host ports.

All pods start together; each test looks at what one of them said.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.clusters import Cluster
from support.etcd import free_port
from support.pods_api import Api, ApiRefused, Pods, python, shell

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
}
SERVE = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.uname().nodename.encode())
http.server.HTTPServer(("", 80), Handler).serve_forever()
"""
SYSCTLS = [{"name": "kernel.shm_rmid_forced", "value": "1"}]
POD_USER = {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [60000]}

SAID: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "groups": (
        shell("main", "echo $(id -u) $(id -g) $(id -G)"),
        {"securityContext": {**POD_USER, "supplementalGroupsPolicy": "Strict"}},
        ["1000 3000 3000 2000 60000"],
    ),
    "named": (
        shell("main", "hostname; hostname -f; cat /etc/hostname"),
        {"setHostnameAsFQDN": True, "hostname": "one", "subdomain": "sub"},
        ["one.sub.{namespace}.svc.cluster.local"] * 3,
    ),
    "filtered": (
        shell("main", "mkdir /tmp/x 2>&1 | grep -o 'not supported'"),
        {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "no-mkdir.json"}}},
        ["not supported"],
    ),
    "other-ids": (
        shell(
            "main", "id -u; awk '{print ($2 > 65535), $3}' /proc/self/uid_map; touch /root/mine && echo wrote"
        ),
        {"hostUsers": False},
        ["0", "1 65536", "wrote"],
    ),
    "unmasked": (
        shell(
            "main", "grep -c ' /proc/' /proc/self/mountinfo; true", securityContext={"procMount": "Unmasked"}
        ),
        {"hostUsers": False},
        ["0"],
    ),
    "sysctls": (
        shell("main", "cat /proc/sys/kernel/shm_rmid_forced"),
        {"securityContext": {"sysctls": SYSCTLS}},
        ["1"],
    ),
}


@pytest.fixture(scope="module")
def started(pods: Pods, cluster: Cluster) -> Pods:
    if os.geteuid() != 0:
        pytest.skip("not on this machine: only root's containers have users of their own")
    for node in pods.api.get("/api/v1/nodes")["items"]:
        folder = cluster.proa.home / "nodes" / node["metadata"]["name"] / "seccomp"
        folder.mkdir(exist_ok=True)
        (folder / "no-mkdir.json").write_text(json.dumps(PROFILE))
    for name, (container, spec, _) in SAID.items():
        pods.run(name, container, **spec)
    return pods


@pytest.mark.parametrize("name", SAID)
def test_a_container_is_as_it_was_asked_for(started: Pods, name: str) -> None:
    """[sig-node] Sysctls [LinuxOnly] [NodeConformance] should support sysctls [MinimumKubeletVersion:1.21]"""
    lines = started.output(name).splitlines()

    assert lines == [line.format(namespace=started.namespace) for line in SAID[name][2]]


def test_the_status_says_who_a_container_runs_as(started: Pods) -> None:
    (status,) = started.ended("groups")["status"]["containerStatuses"]

    assert status["user"] == {"linux": {"uid": 1000, "gid": 3000, "supplementalGroups": [3000, 60000, 2000]}}


def test_sysctls_that_no_pod_can_have_are_rejected(pods: Pods) -> None:
    """[sig-node] Sysctls [LinuxOnly] [NodeConformance] should reject invalid sysctls [MinimumKubeletVersion:1.21]"""
    names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."]
    asked = [{"name": name, "value": "1"} for name in names]
    with pytest.raises(ApiRefused) as refused:
        pods.run("bad-sysctls", shell("main", "true"), securityContext={"sysctls": asked})

    message = str(refused.value)
    assert 'Invalid value: \\"foo-\\"' in message
    assert 'Invalid value: \\"bar..\\"' in message
    assert "kernel.shmmax" not in message


def test_containers_see_one_another_where_they_share_processes(pods: Pods) -> None:
    first = shell("first", "exec sleep 600")
    pods.run("sharing", first, shell("second", "exec sleep 601"), shareProcessNamespace=True)
    pods.ready("sharing")

    seen = pods.exec("sharing", "sh", "-c", "cat /proc/1/comm; pgrep -x sleep | wc -l", container="second")

    assert seen.split() == ["pause", "2"]


def test_a_pod_runs_where_its_runtime_class_says(pods: Pods) -> None:
    (node,) = pods.api.get("/api/v1/nodes")["items"][:1]
    handlers = {handler["name"] for handler in node["status"]["runtimeHandlers"]}
    classes = {c["metadata"]["name"]: c["handler"] for c in classes_of(pods.api)}
    assert {"", "native"} <= handlers
    assert {name: name for name in handlers - {""}}.items() <= classes.items()
    others = sorted({"runc", "crun", "bwrap"} & handlers)
    for handler in others:
        script = "echo $(id -u) $(grep Seccomp: /proc/self/status | cut -f2); exec sleep 0.1"
        pods.run(f"on-{handler}", shell("main", script), runtimeClassName=handler)
    for handler in others:
        assert pods.output(f"on-{handler}") == "0 2\n"
    if not others:
        pytest.skip("not on this machine: none of runc, crun and bwrap is installed")


def test_a_class_whose_handler_no_node_has_is_told_of(pods: Pods) -> None:
    body = {"metadata": {"name": "nonesuch"}, "handler": "nonesuch"}
    pods.api.post("/apis/node.k8s.io/v1/runtimeclasses", body)
    try:
        pods.run("nowhere", shell("main", "true"), runtimeClassName="nonesuch")
        words = 'Failed to create pod sandbox: failed to get sandbox runtime: no runtime for "nonesuch" is configured'
        assert pods.until_told("nowhere", "FailedCreatePodSandBox")["message"] == words
    finally:
        pods.api.send("DELETE", "/apis/node.k8s.io/v1/runtimeclasses/nonesuch")


def test_app_armor_is_refused_where_the_kernel_has_none(pods: Pods) -> None:
    if os.path.exists("/sys/module/apparmor"):
        pytest.skip("not on this machine: its kernel has AppArmor")
    profile = {"appArmorProfile": {"type": "RuntimeDefault"}}
    pods.run("armored", shell("main", "true"), securityContext=profile)

    status = pods.ended("armored")["status"]

    assert (status["phase"], status["reason"]) == ("Failed", "AppArmor")
    assert status["message"] == (
        "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host"
    )


def test_host_ports_lead_to_their_pods(pods: Pods) -> None:
    """[sig-network] HostPort validates that there is no conflict between pods with same hostPort but different hostIP
    and protocol [LinuxOnly] [Conformance]"""
    node = pods.api.get("/api/v1/nodes")["items"][0]
    node_ip = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    port = free_port()
    for name, ip in (("port-loopback", "127.0.0.1"), ("port-node", node_ip)):
        taken = {"containerPort": 80, "hostPort": port, "hostIP": ip}
        pods.run(name, python("main", SERVE, ports=[taken]))
    udp = {"containerPort": 80, "hostPort": port, "hostIP": node_ip, "protocol": "UDP"}
    pods.run("port-udp", python("main", ECHO, ports=[udp]))
    for name in ("port-loopback", "port-node", "port-udp"):
        pods.ready(name)

    script = ASK.format(port=port, node_ip=node_ip)
    pods.run("asking", python("main", script), hostNetwork=True)

    assert pods.output("asking").split() == ["port-loopback", "port-node", "port-udp"]
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=20).read() == b"port-loopback"


def test_a_block_volume_is_a_device_in_the_container(pods: Pods, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"written outside".ljust(1 << 20, b"\0"))
    made = subprocess.run(
        ["losetup", "--find", "--show", str(disk)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"not on this machine: no loop device: {made.stderr.strip()}")
    device = made.stdout.strip()
    try:
        node = pods.api.get("/api/v1/nodes")["items"][0]["metadata"]["name"]
        add_block_volume(pods, device, node)
        script = "head -c 15 /dev/disk; printf inside | dd of=/dev/disk conv=notrunc,fsync status=none"
        uses = {"volumeDevices": [{"name": "disk", "devicePath": "/dev/disk"}]}
        claim = [{"name": "disk", "persistentVolumeClaim": {"claimName": "block"}}]
        pods.run("block", shell("main", script, **uses), volumes=claim)

        assert pods.output("block") == "written outside"
        assert Path(device).read_bytes()[:15] == b"inside" + b"n outside"

        mounts = {"volumeMounts": [{"name": "disk", "mountPath": "/disk"}]}
        pods.run("block-as-folder", shell("main", "true", **mounts), volumes=claim)
        words = pods.until_told("block-as-folder", "FailedMount")["message"]
        assert "volume disk has volumeMode Block, but is specified in volumeMounts" in words
        pods.delete("block-as-folder", 0)
    finally:
        pods.api.send("DELETE", "/api/v1/persistentvolumes/isolation-block")
        subprocess.run(["losetup", "--detach", device], check=True)


def add_block_volume(pods: Pods, device: str, node: str) -> None:
    asked = {"accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "none"}
    hostname = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    spec = {
        **asked,
        "capacity": {"storage": "1Mi"},
        "local": {"path": device},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [hostname]}]}},
    }
    pods.api.post("/api/v1/persistentvolumes", {"metadata": {"name": "isolation-block"}, "spec": spec})
    resources = {"requests": {"storage": "1Mi"}}
    pods.add("persistentvolumeclaims", "block", spec={**asked, "resources": resources})


ECHO = """
import os, socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(("", 80))
while True:
    _, client = server.recvfrom(100); server.sendto(os.uname().nodename.encode(), client)
"""
ASK = """
import socket, time, urllib.request
def get(address):
    for _ in range(100):
        try:
            return urllib.request.urlopen(f"http://{{address}}:{port}", timeout=5).read().decode()
        except OSError as error:
            last = error; time.sleep(0.1)
    raise last
print(get("127.0.0.1"), get("{node_ip}"))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); client.settimeout(1)
for _ in range(20):
    client.sendto(b"?", ("{node_ip}", {port}))
    try:
        print(client.recv(100).decode()); break
    except TimeoutError:
        continue
"""


def classes_of(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/apis/node.k8s.io/v1/runtimeclasses")["items"]
    return found
