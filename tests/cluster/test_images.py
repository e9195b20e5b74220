"""Pods run images that others made: pulled from a real registry, with its users and certificates, or loaded."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from proa.images.store import ImageStore
from support.clusters import Cluster, ProaCommand
from support.images import make_archive, make_entry, make_folder, make_link
from support.pods_api import Pods, container_status, is_ready, state
from support.registry import PASSWORD, USER, needs_registry, needs_skopeo, run_registry, skopeo
from support.tls_server import Authority

BUSYBOX = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.access(path, os.X_OK)), "")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("images"),
    needs_registry,
    needs_skopeo,
    pytest.mark.skipif(
        not BUSYBOX or b"ld-linux" in Path(BUSYBOX).read_bytes()[:4096],
        reason="not on this machine: a static busybox (Debian: busybox-static) is needed",
    ),
]
TOOLS = ["sh", "cat", "id", "env", "ls", "touch", "pwd", "sleep", "wc", "test", "stat", "echo"]
CONFIG = {
    "User": "sailor",
    "WorkingDir": "/home/sailor",
    "Env": ["PATH=/bin", "SHIP=proa"],
    "Entrypoint": ["sh", "-c"],
    "Cmd": ["id -un; id -G; pwd; echo $SHIP $HOME; cat /data/*; sleep 1000 & wait"],
    "StopSignal": "SIGINT",
    "Volumes": {"/data": {}},
}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store, as an OCI layout, with the images `app`, `many` (32 layers) and `loose`."""
    import io

    store = ImageStore(tmp_path_factory.mktemp("layout") / "images")
    binary = Path(BUSYBOX).read_bytes()
    base = [
        make_folder("bin"),
        make_entry("bin/busybox", binary, mode=0o755),
        *(make_link(f"bin/{tool}", "busybox") for tool in TOOLS),
        make_entry("etc/passwd", b"root:x:0:0::/root:/bin/sh\nsailor:x:1234:1234::/home/sailor:/bin/sh\n"),
        make_entry("etc/group", b"root:x:0:\nsailor:x:1234:\ncrew:x:77:sailor\n"),
        make_folder("home/sailor", uid=1234, gid=1234),
        make_entry("data/hidden", b"hidden\n"),
        make_entry("data/shown", b"shown\n"),
    ]
    platform = {"architecture": "amd64", "os": "linux"}
    with store.lease(), store.workers() as workers:
        layers = [store.add_layer(io.BytesIO(make_archive(base)), workers=workers)]
        top = make_archive([make_entry("data/.wh.hidden")])
        layers.append(store.add_layer(io.BytesIO(top), workers=workers))
        store.commit({**platform, "config": CONFIG}, layers, ["app"])
        store.commit({**platform, "config": CONFIG, "author": "nobody"}, layers, ["loose"])
        for number in range(30):
            layer = make_archive({f"many/{number}": b"", "last": str(number).encode()})
            layers.append(store.add_layer(io.BytesIO(layer), workers=workers))
        command = {"Cmd": ["/bin/sh", "-c", "ls /many | wc -l; cat /last; echo"], "Env": ["PATH=/bin"]}
        store.commit({**platform, "config": command}, layers, ["many"])
    return store.directory


@pytest.fixture(scope="module")
def registry(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield a registry that anybody may pull from, over plain HTTP."""
    with run_registry(tmp_path_factory.mktemp("registry")) as host:
        for name in ("app", "many"):
            push(layout, name, f"{host}/{name}:v1")
        yield host


def push(layout: Path, name: str, target: str, *options: str) -> None:
    skopeo(
        "copy",
        "--dest-tls-verify=false",
        *options,
        f"oci:{layout}:docker.io/library/{name}:latest",
        f"docker://{target}",
    )


def test_an_image_runs_as_its_configuration_says(pods: Pods, registry: str) -> None:
    pods.run("app", {"name": "c", "image": f"{registry}/app:v1"})

    pod = pods.ready("app")

    status = container_status(pod)
    assert status["image"] == f"{registry}/app:v1"
    assert status["imageID"].startswith(f"{registry}/app@sha256:")
    pods.until("app", lambda _: "shown" in pods.log("app"))
    assert pods.log("app").split("\n")[:-1] == [
        "sailor",
        "1234 77",
        "/home/sailor",
        "proa /home/sailor",
        "shown",
    ]
    told = [event["message"] for event in pods.events("app") if event["reason"] in ("Pulling", "Pulled")]
    assert told[0] == f'Pulling image "{registry}/app:v1"'
    assert told[1].startswith(f'Successfully pulled image "{registry}/app:v1" in ')
    assert " including waiting). Image size: " in told[1]
    pods.delete("app")


def test_an_image_volume_shows_an_image_read_only_and_volumes_of_images_can_be_written(
    pods: Pods, registry: str
) -> None:
    script = "ls /i; cat /part/shown; touch /i/x; touch /x; touch /data/written && ls /data"
    pods.run(
        "volumes",
        {
            "name": "c",
            "image": f"{registry}/app:v1",
            "args": [f"{script} 2>&1"],
            "securityContext": {"readOnlyRootFilesystem": True, "runAsUser": 0},
            "volumeMounts": [
                {"name": "i", "mountPath": "/i"},
                {"name": "i", "mountPath": "/part", "subPath": "data"},
            ],
        },
        volumes=[{"name": "i", "image": {"reference": f"{registry}/app:v1", "pullPolicy": "Always"}}],
    )

    said = pods.output("volumes").split("\n")

    assert said[:5] == ["bin", "data", "etc", "home", "shown"]
    assert said[5:] == [
        "touch: /i/x: Read-only file system", "touch: /x: Read-only file system", "shown", "written", ""
    ]  # fmt: skip


def test_more_layers_than_fit_into_a_mounts_options_with_whole_names(pods: Pods, registry: str) -> None:
    pods.run("many", {"name": "c", "image": f"{registry}/many:v1"})
    assert pods.output("many").split() == ["30", "29"]


def test_a_private_registry_wants_its_certificate_trusted_and_a_password(
    pods: Pods, cluster: Cluster, layout: Path, tmp_path: Path
) -> None:
    authority = Authority()
    with run_registry(tmp_path / "registry", users=True, authority=authority) as host:
        push(layout, "app", f"{host}/team/app:v1", f"--dest-creds={USER}:{PASSWORD}")
        image = f"{host}/team/app:v1"
        (cluster.proa.home / "ca.pem").write_bytes(base64.b64decode(authority.bundle))
        settings = {"configs": {host: {"tls": {"ca_file": "ca.pem"}}}}
        (cluster.proa.home / "registries.yaml").write_text(yaml.safe_dump(settings))
        auths = {"auths": {host: {"username": USER, "password": PASSWORD}}}
        secret = base64.b64encode(json.dumps(auths).encode()).decode()
        pods.add("secrets", "key", type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": secret})
        pods.run("with", {"name": "c", "image": image}, imagePullSecrets=[{"name": "key"}])
        pods.ready("with")

        # It is here now, but a pod without the secret may not have it (KubeletEnsureSecretPulledImages).
        pods.run("without", {"name": "c", "image": image}, imagePullSecrets=[{"name": "lost"}])
        pod = pods.until(
            "without", lambda pod: state(pod, "c", "waiting").get("reason") == "ImagePullBackOff"
        )

        assert "pull access denied" in state(pod, "c", "waiting")["message"] or "no basic auth" in str(pod)
        message = (
            "Unable to retrieve some image pull secrets (lost); attempting to pull the image may not succeed."
        )
        assert pods.events("without", "FailedToRetrieveImagePullSecret")[0]["message"] == message
        pods.run("never", {"name": "c", "image": image, "imagePullPolicy": "Never"})
        pods.until("never", lambda pod: state(pod, "c", "waiting").get("reason") == "ErrImageNeverPull")
        pods.run("again", {"name": "c", "image": image}, imagePullSecrets=[{"name": "key"}])
        pods.ready("again")
        present = f'Container image "{image}" already present on machine and can be accessed by the pod'
        assert pods.events("again", "Pulled")[0]["message"] == present
        (cluster.proa.home / "registries.yaml").unlink()
        pods.run("untrusted", {"name": "c", "image": image, "imagePullPolicy": "Always"})
        pods.until("untrusted", lambda pod: state(pod, "c", "waiting").get("reason") == "ImagePullBackOff")


def test_what_cannot_be_pulled_says_why(pods: Pods, registry: str) -> None:
    for name, image, reason in (
        ("missing", f"{registry}/nope:v1", "ErrImagePull"),
        ("away", "127.0.0.1:1/nope:v1", "RegistryUnavailable"),
    ):
        pods.run(name, {"name": "c", "image": image})
        pod = pods.until(name, lambda pod: state(pod, "c", "waiting").get("reason") == "ImagePullBackOff")
        message = state(pod, "c", "waiting")["message"]
        assert message.startswith(f'Back-off pulling image "{image}": {reason}: ')
    pods.run("wrong", {"name": "c", "image": "not/AN/image"})
    pods.until("wrong", lambda pod: state(pod, "c", "waiting").get("reason") == "InvalidImageName")


def test_an_archive_is_loaded_run_kept_and_removed(
    pods: Pods, cluster: Cluster, layout: Path, tmp_path: Path
) -> None:
    archive, saved = tmp_path / "app.tar", tmp_path / "saved.tar"
    source = f"oci:{layout}:docker.io/library/loose:latest"
    skopeo("copy", source, f"docker-archive:{archive}:fleet/app:v2")

    loaded = json.loads(cluster.proa("images", "load", str(archive), "-o", "json").stdout)["images"][0]
    pods.run("loaded", {"name": "c", "image": "fleet/app:v2", "imagePullPolicy": "Never"})
    pods.ready("loaded")

    assert loaded["tags"] == ["docker.io/fleet/app:v2"]
    refused = cluster.proa("images", "rm", "fleet/app:v2", check=False)
    assert (refused.returncode, "containers use fleet/app:v2" in refused.stderr) == (1, True)
    cluster.proa("images", "save", "-O", str(saved), "fleet/app:v2")
    for kind in ("docker-archive", "oci-archive"):
        assert json.loads(skopeo("inspect", "--config", f"{kind}:{saved}"))["config"]["User"] == "sailor"
    pods.delete("loaded")
    cluster.proa("images", "tag", "fleet/app:v2", "fleet/app:v3")
    cluster.proa("images", "rm", "fleet/app:v2")
    listed = json.loads(cluster.proa("images", "ls", "fleet", "-o", "json").stdout)["images"]
    assert [image["tags"] for image in listed] == [["docker.io/fleet/app:v3"]]


@pytest.mark.skipif(
    not shutil.which("buildah") or os.getuid() != 0, reason="not on this machine: buildah, as root, is needed"
)
def test_what_buildah_makes_runs(pods: Pods, cluster: Cluster, tmp_path: Path) -> None:
    environment = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    roots = ["--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run")]
    (tmp_path / "Dockerfile").write_text(
        'FROM scratch\nCOPY busybox /bin/sh\nENTRYPOINT ["/bin/sh", "-c"]\nCMD ["echo ahoy"]\n'
    )
    shutil.copy(BUSYBOX, tmp_path / "busybox")
    for command in (
        ["bud", "-t", "ahoy", str(tmp_path)],
        ["push", "ahoy", f"oci-archive:{tmp_path}/ahoy.tar:localhost/ahoy:v1"],
    ):
        done = subprocess.run(
            ["buildah", *roots, *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    cluster.proa("images", "load", str(tmp_path / "ahoy.tar"))
    pods.run("ahoy", {"name": "c", "image": "localhost/ahoy:v1", "imagePullPolicy": "Never"})

    assert pods.output("ahoy") == "ahoy\n"


def test_the_node_says_which_images_it_has(cluster: Cluster, pods: Pods, registry: str) -> None:
    def has(node: dict[str, Any]) -> bool:
        return any(f"{registry}/app:v1" in image["names"] for image in node["status"]["images"])

    node = pods.api.get("/api/v1/nodes/proa-1")
    if not has(node):
        version = node["metadata"]["resourceVersion"]
        changes = pods.api.watch(
            "/api/v1/nodes", fieldSelector="metadata.name=proa-1", resourceVersion=version
        )
        assert any(has(change["object"]) for change in changes)
    assert is_ready(pods.api.get("/api/v1/nodes/proa-1"))


def test_an_ordinary_user_pulls_and_runs_images_too(
    rootless: ProaCommand, kubectl_path: str, registry: str
) -> None:
    """Without subordinate ids all files of an image are the user's, whoever a container runs as."""
    rootless("images", "pull", f"{registry}/app:v1")
    rootless("up", "--detach", "--port", "0")
    cluster = Cluster(rootless, kubectl_path)
    cluster.kubectl("run", "app", "--image", f"{registry}/app:v1")
    cluster.kubectl("wait", "--for=condition=Ready", "pod/app", "--timeout=120s")

    said = cluster.kubectl("exec", "app", "--", "sh", "-c", "id -u; ls /data; touch x && stat -c %u x").stdout

    assert said.split() == ["1234", "shown", "1234"]
    listed = json.loads(rootless("images", "-o", "json").stdout)["images"]
    assert [(image["tags"], image["used"]) for image in listed] == [([f"{registry}/app:v1"], True)]
