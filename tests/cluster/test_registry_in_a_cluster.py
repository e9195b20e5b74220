"""The cluster's registry with real clients: skopeo and buildah on the host, a program in a pod; pods run the images."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters import UNPRIVILEGED, Cluster, ProaCommand, run

BUSYBOX = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.access(path, os.X_OK)), "")
IS_STATIC = bool(BUSYBOX) and b"ld-linux" not in Path(BUSYBOX).read_bytes()[:4096]
pytestmark = pytest.mark.skipif(
    not IS_STATIC, reason="not on this machine: no static busybox: apt install busybox-static"
)
PUSH_FROM_A_POD = """
import base64, gzip, hashlib, http.client, io, json, ssl, tarfile
place = "/var/run/secrets/kubernetes.io/serviceaccount/"
token = open(place + "token").read()
login = {"Authorization": "Basic " + base64.b64encode(f"x:{token}".encode()).decode()}
def ask(method, path, body=None, **headers):
    context = ssl.create_default_context(cafile=place + "ca.crt")
    connection = http.client.HTTPSConnection("proa.local", 5000, context=context)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()
def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()
print("nobody", ask("GET", "/v2/")[0])
print("elsewhere", ask("POST", "/v2/other/blobs/uploads/", b"", **login)[0])
archive = io.BytesIO()
with tarfile.open(fileobj=archive, mode="w") as tar:
    tar.add("/tmp/hello", "busybox")
layer = gzip.compress(archive.getvalue())
config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/busybox", "echo", "from a pod"]},
                     "rootfs": {"type": "layers", "diff_ids": [digest(archive.getvalue())]}}).encode()
for blob in (layer, config):
    print("blob", ask("POST", f"/v2/NAMESPACE/made/blobs/uploads/?digest={digest(blob)}", blob, **login)[0])
media = "application/vnd.oci.image."
manifest = {"schemaVersion": 2, "mediaType": media + "manifest.v1+json",
            "config": {"mediaType": media + "config.v1+json", "digest": digest(config), "size": len(config)},
            "layers": [{"mediaType": media + "layer.v1.tar+gzip", "digest": digest(layer), "size": len(layer)}]}
put = {**login, "Content-Type": manifest["mediaType"]}
print("manifest", *ask("PUT", "/v2/NAMESPACE/made/manifests/1", json.dumps(manifest).encode(), **put))
"""


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a context whose image prints a word."""
    folder = tmp_path_factory.mktemp("context")
    shutil.copy(BUSYBOX, folder / "busybox")
    (folder / "Dockerfile").write_text(
        'FROM scratch\nARG WORD\nCOPY busybox /bin/echo\nENV WORD=$WORD\nENTRYPOINT ["/bin/echo"]\nCMD ["built"]\n'
    )
    return folder


@pytest.fixture(scope="module")
def address(cluster: Cluster) -> str:
    """Return where the host reaches the registry."""
    return str(cluster.proa.status()["registry"])


def run_image(cluster: Cluster, namespace: str, name: str, image: str, policy: str = "IfNotPresent") -> str:
    """Run an image to its end and return what it printed."""
    wanted = ("--restart=Never", f"--image-pull-policy={policy}", f"--image={image}")
    cluster.kubectl("-n", namespace, "run", name, *wanted)
    done = "jsonpath={.status.phase}=Succeeded"
    cluster.kubectl("-n", namespace, "wait", f"pod/{name}", f"--for={done}", "--timeout=120s")
    return cluster.kubectl("-n", namespace, "logs", name).stdout


def test_what_is_built_runs_by_its_name_at_once(
    cluster: Cluster, namespace: str, context: Path, address: str
) -> None:
    cluster.proa("build", "-t", "built:1", "-t", "proa.local:5000/built:1", str(context))
    assert run_image(cluster, namespace, "plain", "built:1") == "built\n"
    assert run_image(cluster, namespace, "named", "proa.local:5000/built:1", "Always") == "built\n"
    with urllib.request.urlopen(f"http://{address}/v2/built/tags/list") as answer:
        assert json.load(answer) == {"name": "built", "tags": ["1"]}


@pytest.mark.skipif(not shutil.which("skopeo"), reason="not on this machine: skopeo is not installed")
def test_skopeo_pushes_and_pulls_on_the_host(
    cluster: Cluster, namespace: str, context: Path, address: str, tmp_path: Path
) -> None:
    cluster.proa("build", "-t", "proa.local:5000/source:1", str(context))
    plain = ["skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"]
    run([*plain, f"docker://{address}/source:1", f"oci:{tmp_path}/layout:x"])
    run([*plain, f"oci:{tmp_path}/layout:x", f"docker://{address}/deep/er/copy:2"])
    assert run_image(cluster, namespace, "copy", "proa.local:5000/deep/er/copy:2") == "built\n"
    digests = [
        run(
            ["skopeo", "inspect", "--tls-verify=false", "-f", "{{.Digest}}", f"docker://{address}/{name}"]
        ).stdout
        for name in ("source:1", "deep/er/copy:2")
    ]
    assert digests[0] == digests[1]


@pytest.mark.skipif(not shutil.which("buildah"), reason="not on this machine: buildah is not installed")
@pytest.mark.skipif(os.getuid() != 0, reason="not on this machine: buildah in its own folders needs root")
def test_buildah_builds_and_pushes_on_the_host(
    cluster: Cluster, namespace: str, context: Path, address: str, tmp_path: Path
) -> None:
    buildah = [
        "buildah",
        "--root",
        str(tmp_path / "r"),
        "--runroot",
        str(tmp_path / "rr"),
        "--storage-driver",
        "vfs",
    ]
    run([*buildah, "bud", "-q", "--isolation", "chroot", "-t", "mine", str(context)], timeout=300)
    run([*buildah, "push", "-q", "--tls-verify=false", "mine", f"docker://{address}/of-buildah:1"])
    assert run_image(cluster, namespace, "buildah", "proa.local:5000/of-buildah:1") == "built\n"


def test_a_pod_pushes_to_its_namespace_when_a_role_lets_it(cluster: Cluster, namespace: str) -> None:
    script = PUSH_FROM_A_POD.replace("NAMESPACE", namespace)
    account = f"--serviceaccount={namespace}:default"
    cluster.kubectl("-n", namespace, "create", "rolebinding", "pushes", "--clusterrole=edit", account)
    cluster.kubectl("-n", namespace, "create", "configmap", "push", f"--from-literal=push.py={script}")
    volumes = [{"name": "push", "configMap": {"name": "push"}}]
    mounts = [{"name": "push", "mountPath": "/push"}]
    command = f"cp {BUSYBOX} /tmp/hello && python3 /push/push.py"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pusher", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "volumes": volumes,
            "containers": [
                {
                    "name": "main",
                    "image": "proa.local/python",
                    "command": ["sh", "-c", command],
                    "volumeMounts": mounts,
                }
            ],
        },
    }
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(pod))
    done = "jsonpath={.status.phase}=Succeeded"
    cluster.kubectl("-n", namespace, "wait", "pod/pusher", f"--for={done}", "--timeout=120s")
    printed = cluster.kubectl("-n", namespace, "logs", "pusher").stdout.splitlines()
    assert printed == ["nobody 401", "elsewhere 403", "blob 201", "blob 201", "manifest 201 b''"]
    assert run_image(cluster, namespace, "made", f"proa.local:5000/{namespace}/made:1") == "from a pod\n"


@pytest.mark.skipif(os.getuid() != 0, reason="not on this machine: another user is root's to be")
def test_another_user_of_the_machine_gets_nothing_without_a_token(
    cluster: Cluster, namespace: str, address: str
) -> None:
    ask = "import sys, urllib.request as u; r = u.Request(sys.argv[1], headers=dict([sys.argv[2].split(': ')])); "
    ask += "print(u.urlopen(r).status)"

    def status(header: str) -> str:
        command = ["/usr/bin/python3", "-I", "-c", ask, f"http://{address}/v2/_catalog", header]
        done = run(command, user=UNPRIVILEGED, check=False)
        return done.stdout.strip() or done.stderr.rstrip().splitlines()[-1]

    assert "401" in status("X-Nothing: x")
    token = cluster.kubectl("-n", namespace, "create", "token", "default").stdout.strip()
    assert "403" in status(f"Authorization: Bearer {token}")


@pytest.fixture
def docker_registry(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return a registry of Debian's that wants a password, and a Docker configuration that has it."""
    program = shutil.which("docker-registry")
    if program is None or shutil.which("htpasswd") is None:
        pytest.skip("not on this machine: docker-registry or htpasswd is not installed")
    users = tmp_path / "htpasswd"
    users.write_text(run(["htpasswd", "-Bbn", "me", "pw"]).stdout)
    configuration = tmp_path / "registry.yml"
    configuration.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:0'}}\nauth: {{htpasswd: {{realm: r, path: {users}}}}}\n"
    )
    with subprocess.Popen(
        [program, "serve", str(configuration)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "listening on" in line)
        address = line.partition("listening on ")[2].split('"')[0].split()[0]
        folder = tmp_path / "docker"
        folder.mkdir()
        (folder / "config.json").write_text(
            json.dumps({"auths": {address: {"username": "me", "password": "pw"}}})
        )
        yield address, folder
        process.kill()


def test_a_build_is_pushed_to_a_registry_that_wants_a_password(
    docker_registry: tuple[str, Path], context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = docker_registry
    proa = ProaCommand(tmp_path / "home", sys.executable)
    options = ("-t", f"{address}/team/app:1", "--push", "-o", "json", str(context))
    refused = proa("build", *options, check=False)
    assert refused.returncode == 1
    assert "no basic auth credentials" in refused.stderr
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    built = json.loads(proa("build", *options).stdout)
    elsewhere = ProaCommand(tmp_path / "elsewhere", sys.executable)
    (context / "Dockerfile.next").write_text(f"FROM {address}/team/app:1@{built['digest']}\nENV MORE=1\n")
    elsewhere("build", "-f", str(context / "Dockerfile.next"), str(context))
