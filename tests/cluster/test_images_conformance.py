"""What upstream's conformance suite asks of images in pods: their own commands, and images as volumes.

A registry of the test's own, on loopback, has one image: busybox that echoes.
"""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.images import digest, make_archive, make_entry, make_folder
from support.pods_api import Pods, shell

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("containers")]

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


def find_busybox() -> Path:
    """Return a busybox that needs nothing else."""
    found = shutil.which("busybox")
    if (
        found is None
        or "not a dynamic" not in subprocess.run(["ldd", found], capture_output=True, text=True).stderr
    ):
        pytest.skip("not on this machine: busybox-static is not installed")
    return Path(found)


def make_image() -> dict[str, tuple[str, bytes]]:
    """Return what a registry has of an image, by the ends of paths: (type, content)."""
    layer = make_archive(
        [
            make_folder("bin"),
            make_entry("bin/echo", find_busybox().read_bytes(), mode=0o755),
            make_folder("data"),
            make_entry("data/file", b"from the image\n"),
        ]
    )
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/bin/echo"], "Cmd": ["entrypoint", "arguments"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
    ).encode()

    def describe(kind: str, data: bytes) -> dict[str, Any]:
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": describe(CONFIG_TYPE, config),
            "layers": [describe(LAYER_TYPE, layer)],
        }
    ).encode()
    blobs = {f"blobs/{digest(data)}": ("application/octet-stream", data) for data in (config, layer)}
    named = {f"manifests/{name}": (MANIFEST_TYPE, manifest) for name in ("1", digest(manifest))}
    return {**blobs, **named}


class Registry(http.server.ThreadingHTTPServer):
    """One image, for all who ask; `asked` are the paths."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RegistryHandler)
        self.content = make_image()
        self.asked: list[str] = []

    @property
    def image(self) -> str:
        """The image's name."""
        return f"127.0.0.1:{self.server_address[1]}/conformance/echo:1"


class RegistryHandler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD of the distribution API."""

    protocol_version = "HTTP/1.1"
    server: Registry

    def do_GET(self) -> None:
        """Send what is at a path."""
        self.server.asked.append(self.path)
        end = "/".join(self.path.split("/")[-2:])
        kind, data = self.server.content.get(end, ("application/json", b"{}"))
        self.send_response(200 if end in self.server.content or self.path == "/v2/" else 404)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        if "manifests" in end:
            self.send_header("docker-content-digest", digest(data))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, format: str, *words: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """Return a registry that answers."""
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_pod_runs_what_its_image_says_unless_it_says_otherwise(pods: Pods, registry: Registry) -> None:
    """[sig-node] Containers should use the image defaults if command and args are blank [Conformance]
    [sig-node] Containers should be able to override the image's default arguments (container cmd) [Conformance]"""
    container = {"name": "main", "image": registry.image}
    pods.run("defaults", container)
    pods.run("arguments", {**container, "args": ["override", "arguments"]})
    pods.run("command", {**container, "command": ["/bin/echo", "entrypoint-2"]})

    assert pods.output("defaults") == "entrypoint arguments\n"
    assert pods.output("arguments") == "override arguments\n"
    assert pods.output("command") == "entrypoint-2\n"


def test_an_image_is_a_volume(pods: Pods, registry: Registry) -> None:
    """[sig-node] ImageVolume should succeed with pod and pull policy of Always [LinuxOnly]
    [MinimumKubeletVersion:1.35] [Conformance]"""
    before = len([path for path in registry.asked if "/manifests/" in path])
    pods.run(
        "volume",
        shell(
            "main",
            "cat /volume/data/file; touch /volume/new 2>/dev/null || echo refused",
            volumeMounts=[{"name": "image", "mountPath": "/volume"}],
        ),
        volumes=[{"name": "image", "image": {"reference": registry.image, "pullPolicy": "Always"}}],
    )

    said = pods.output("volume").splitlines()

    assert (said[0], said[-1]) == ("from the image", "refused")
    assert len([path for path in registry.asked if "/manifests/" in path]) > before
