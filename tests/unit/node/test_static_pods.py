"""Static pods: what a manifest becomes, and how pod and mirror live and go apart from one another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from proa.node.static_pods import ManifestError, make_mirror, read_manifest, translate
from proa.objects.resource import PODS
from support.kubelet import Node, harness

NODE = {"metadata": {"name": "proa-1", "uid": "n1"}}
MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: app, image: proa.local/python, command: [serve]}]}
"""
NAME = "web-proa-1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: [", "while parsing"),
        ("apiVersion: v1\nkind: Service", "it holds no Pod of v1"),
        ("apiVersion: v1\nkind: Pod\nspec: {}", "metadata.name: Required value"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}", "spec: Required value"),
    ],
)
def test_what_is_no_pod_is_refused(text: str, why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        read_manifest(text.encode())


def test_a_mirror_names_its_node_and_its_manifest() -> None:
    manifest = read_manifest(MANIFEST.encode())
    mirror = make_mirror(manifest, Path("/m/web.yaml"), NODE, 0.0)
    annotations = mirror["metadata"]["annotations"]

    assert (mirror["metadata"]["name"], mirror["metadata"]["namespace"]) == (NAME, "default")
    assert mirror["metadata"]["labels"] == {"app": "web"}
    assert mirror["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": "proa-1", "uid": "n1", "controller": True}
    ]
    assert mirror["spec"]["nodeName"] == "proa-1"
    assert mirror["spec"]["tolerations"] == [{"operator": "Exists", "effect": "NoExecute"}]
    digest = annotations["kubernetes.io/config.hash"]
    assert annotations == {
        "kubernetes.io/config.hash": digest,
        "kubernetes.io/config.mirror": digest,
        "kubernetes.io/config.seen": "1970-01-01T00:00:00Z",
        "kubernetes.io/config.source": "file",
    }
    assert len(digest) == 32
    assert translate(mirror)["metadata"]["uid"] == digest


def test_another_content_or_place_is_another_pod() -> None:
    manifest = read_manifest(MANIFEST.encode())
    other = {**manifest, "spec": {"containers": [{"name": "app", "image": "other"}]}}
    mirrors = [
        make_mirror(manifest, Path("/a"), NODE, 1.0),
        make_mirror(manifest, Path("/b"), NODE, 1.0),
        make_mirror(other, Path("/a"), NODE, 1.0),
    ]

    assert len({m["metadata"]["annotations"]["kubernetes.io/config.hash"] for m in mirrors}) == 3


def run(directory: Path, scenario: Callable[[Node], Awaitable[None]]) -> None:
    async def main() -> None:
        manifests = directory / "manifests"
        manifests.mkdir()
        (manifests / "web.yaml").write_text(MANIFEST)
        (manifests / "broken.yaml").write_text("kind: [")
        (manifests / ".web.yaml.swp").write_text("")
        async with harness(directory) as node:
            await node.until(lambda: node.status(NAME).get("phase") == "Running")
            await scenario(node)

    asyncio.run(main())


def mirror_uid(node: Node) -> str:
    pod: dict[str, Any] = node.pod(NAME) or {"metadata": {}}
    return str(pod["metadata"].get("uid", ""))


def test_a_static_pod_outlives_its_mirror(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        before, container = mirror_uid(node), node.runtime.newest("app")
        assert container.config.labels["io.kubernetes.pod.uid"] != before

        await node.client.delete(PODS, NAME, "default")
        await node.until(lambda: mirror_uid(node) not in ("", before))
        await node.until(lambda: node.status(NAME).get("phase") == "Running")

        assert node.runtime.newest("app") == container

    run(tmp_path, scenario)


def test_a_static_pod_lives_through_a_restart_of_the_kubelet(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        before, container = mirror_uid(node), node.runtime.newest("app")

        await node.restart()
        await node.settle()

        assert (mirror_uid(node), node.runtime.newest("app")) == (before, container)

    run(tmp_path, scenario)


def test_another_manifest_replaces_the_pod_once_it_has_ended(tmp_path: Path) -> None:
    async def scenario(node: Node) -> None:
        before, container = mirror_uid(node), node.runtime.newest("app")
        manifest = tmp_path / "manifests" / "web.yaml"

        manifest.write_text(MANIFEST.replace("serve", "other"))
        await node.until(lambda: mirror_uid(node) not in ("", before))
        await node.until(lambda: node.status(NAME).get("phase") == "Running")
        after = node.runtime.newest("app")
        assert (after.config.argv, after.config.attempt) == (("other",), 0)
        assert container.id not in node.runtime.containers

        manifest.unlink()
        await node.until(lambda: node.pod(NAME) is None)
        assert not node.runtime.containers
        await node.until(lambda: not node.kubelet.workers)

    run(tmp_path, scenario)
