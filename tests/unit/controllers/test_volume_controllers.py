"""A claim gets a volume, keeps it while it is used, and its directory goes with it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from proa.controllers.local_path import controller as local_path
from proa.controllers.local_path.controller import Removal, plan_removal
from proa.controllers.local_path.directories import make_directory, remove_directory
from proa.controllers.persistent_volume import claims, volumes
from proa.controllers.volume_protection import CLAIM_PROTECTION, VOLUME_PROTECTION
from proa.objects import meta
from proa.objects.resource import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)
from proa.objects.volume_matching import find_volume

CONTROLLERS = (claims, volumes, CLAIM_PROTECTION, VOLUME_PROTECTION, local_path)


def make_claim(
    name: str = "data", *, size: str = "1Gi", modes: tuple[str, ...] = ("ReadWriteOnce",), **spec: Any
) -> Any:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"accessModes": list(modes), "resources": {"requests": {"storage": size}}, **spec},
    }


def make_volume(
    name: str, *, size: str = "1Gi", modes: tuple[str, ...] = ("ReadWriteOnce",), **spec: Any
) -> Any:
    return {
        "metadata": {"name": name},
        "spec": {"accessModes": list(modes), "capacity": {"storage": size}, **spec},
        "status": {"phase": "Available"},
    }


def add_node(w: Any) -> None:
    w.client.add(NODES, {"metadata": {"name": "proa-1", "labels": {"kubernetes.io/hostname": "proa-1"}}})


def claim(w: Any, name: str = "data") -> Any:
    return w.client.peek(PERSISTENT_VOLUME_CLAIMS, name, "default")


def test_a_claim_of_the_default_class_waits_for_its_first_pod_and_then_has_a_directory(
    world: Any, settings: Any
) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS, settings=settings) as w:
            add_node(w)
            await w.client.create(STORAGE_CLASSES, local_path.make_storage_class())
            await w.client.create(PERSISTENT_VOLUME_CLAIMS, make_claim(), "default")
            await w.settle()
            assert claim(w)["spec"]["storageClassName"] == "local-path"
            assert claim(w)["status"]["phase"] == "Pending"
            assert "WaitForFirstConsumer" in [event[1] for event in w.events]
            chosen = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "proa-1"}}}
            await w.client.patch(PERSISTENT_VOLUME_CLAIMS, "data", chosen, "default")
            await w.settle()
            assert claim(w)["status"] == {
                "phase": "Bound",
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
            }
            volume = w.client.peek(PERSISTENT_VOLUMES, claim(w)["spec"]["volumeName"])
            assert volume["status"]["phase"] == "Bound"
            path = Path(volume["spec"]["hostPath"]["path"])
            assert path.parent == settings.volumes_directory
            assert path.stat().st_mode & 0o777 == 0o777
            (path / "model").write_text("weights")

            pod = {
                "metadata": {"name": "user"},
                "spec": {
                    "nodeName": "proa-1",
                    "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
                },
            }
            w.client.add(PODS, pod)
            await w.settle()
            await w.client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
            await w.settle()
            assert meta.is_deleting(claim(w))
            assert (path / "model").exists()
            await w.client.delete(PODS, "user", "default", grace_period_seconds=0)
            async with asyncio.timeout(60):
                while w.client.peek(PERSISTENT_VOLUMES, meta.name(volume)) is not None:
                    await asyncio.sleep(0.005)  # a thread removes the directory
                    await w.settle()
            assert claim(w) is None
            assert not path.exists()

    asyncio.run(scenario())


def test_reconciling_a_bound_claim_again_changes_nothing(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world(CONTROLLERS, settings=settings) as w:
            w.client.add(PERSISTENT_VOLUMES, make_volume("small", size="500Mi"))
            w.client.add(PERSISTENT_VOLUMES, make_volume("large", size="10Gi"))
            w.client.add(PERSISTENT_VOLUMES, make_volume("fitting", size="2Gi"))
            await w.client.create(PERSISTENT_VOLUME_CLAIMS, make_claim(), "default")
            await w.settle()
            assert claim(w)["spec"]["volumeName"] == "fitting"
            calls = len(w.client.calls)
            await w.reconcile_all()
            assert w.client.calls[calls:] == []

    asyncio.run(scenario())


def test_a_claim_whose_volume_is_gone_is_lost(world: Any, settings: Any) -> None:
    async def scenario() -> None:
        async with world([claims], settings=settings) as w:
            w.client.add(PERSISTENT_VOLUMES, make_volume("only"))
            await w.client.create(PERSISTENT_VOLUME_CLAIMS, make_claim(), "default")
            await w.settle()
            await w.client.delete(PERSISTENT_VOLUMES, "only")
            await w.settle()
            await w.reconcile_all()
            assert claim(w)["status"]["phase"] == "Lost"
            assert "ClaimLost" in [event[1] for event in w.events]

    asyncio.run(scenario())


def on_node(name: str) -> Any:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


TO_IT = {"namespace": "default", "name": "data"}
TO_OTHER = {"namespace": "default", "name": "other", "uid": "x"}
NODE = {"metadata": {"name": "n", "labels": {"kubernetes.io/hostname": "n"}}}
MATCHES = [
    ("the smallest that is large enough", make_claim(), [make_volume("a", size="5Gi"), make_volume("b")], "b"),
    ("too small", make_claim(size="2Gi"), [make_volume("a")], None),
    ("another class", make_claim(storageClassName="fast"), [make_volume("a")], None),
    ("same class", make_claim(storageClassName="fast"), [make_volume("a", storageClassName="fast")], "a"),
    ("access modes", make_claim(modes=("ReadWriteMany",)), [make_volume("a")], None),
    ("taken", make_claim(), [make_volume("a", claimRef=TO_OTHER)], None),
    ("kept for it", make_claim(), [make_volume("a"), make_volume("b", size="9Gi", claimRef=TO_IT)], "b"),
    ("selector", make_claim(selector={"matchLabels": {"tier": "gold"}}), [make_volume("a")], None),
    ("block", make_claim(volumeMode="Block"), [make_volume("a")], None),
    ("on this node", make_claim(), [make_volume("a", nodeAffinity=on_node("n"))], "a"),
    ("on another node", make_claim(), [make_volume("a", nodeAffinity=on_node("m"))], None),
]  # fmt: skip


@pytest.mark.parametrize(("_name", "wanted", "offered", "expected"), MATCHES, ids=[c[0] for c in MATCHES])
def test_find_volume(_name: str, wanted: Any, offered: Any, expected: str | None) -> None:
    found = find_volume(wanted, offered, NODE)
    assert (None if found is None else meta.name(found)) == expected


def bound_to(volume_name: str | None) -> Any:
    return {"metadata": {"uid": "x"}, "spec": {"volumeName": volume_name} if volume_name else {}}


FREE, TAKEN = make_volume("v"), make_volume("v", claimRef=TO_OTHER)
PHASES = [
    ("free", FREE, None, volumes.Plan(phase="Available")),
    ("claim gone", TAKEN, None, volumes.Plan(phase="Released")),
    ("claim waits", TAKEN, bound_to(None), volumes.Plan()),
    ("bound", TAKEN, bound_to("v"), volumes.Plan(phase="Bound")),
    ("claim took another", TAKEN, bound_to("w"), volumes.Plan(phase="Available", unbind=True)),
]


@pytest.mark.parametrize(("_name", "volume", "owner", "expected"), PHASES, ids=[c[0] for c in PHASES])
def test_phase_of_a_volume(_name: str, volume: Any, owner: Any, expected: volumes.Plan) -> None:
    assert volumes.plan(volume, owner) == expected


def local_volume(phase: str, policy: str = "Delete", **metadata: Any) -> Any:
    spec = {"hostPath": {"path": "/v/x"}, "persistentVolumeReclaimPolicy": policy}
    notes = {"pv.kubernetes.io/provisioned-by": "proa.local/path"}
    return {
        "metadata": {"name": "v", "annotations": notes, **metadata},
        "spec": spec,
        "status": {"phase": phase},
    }


REMOVALS = [
    ("bound", local_volume("Bound"), Removal()),
    ("released", local_volume("Released"), Removal("/v/x", let_go=True, delete=True)),
    ("released and kept", local_volume("Released", "Retain"), Removal()),
    ("of somebody else", local_volume("Released", annotations={}), Removal()),
]


@pytest.mark.parametrize(("_name", "volume", "expected"), REMOVALS, ids=[c[0] for c in REMOVALS])
def test_removal(_name: str, volume: Any, expected: Removal) -> None:
    assert plan_removal(volume) == expected


def test_only_directories_of_volumes_are_removed(tmp_path: Path) -> None:
    base = tmp_path / "volumes"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    make_directory(base / "mine", base)
    (base / "mine" / "link").symlink_to(outside)
    (base / "alias").symlink_to(outside)
    remove_directory(base / "mine", base)
    assert not (base / "mine").exists()
    for path in (outside, base, base / ".." / "outside", base / "alias", base / "a" / "b", tmp_path):
        with pytest.raises(OSError, match="not a volume"):
            remove_directory(path, base)
    assert (outside / "precious").read_text() == "kept"
