"""What revisions that are gone have left in the nodes' cache goes after a while."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.ml.grpc.door import Door
from proa.ml.serving.operator import model_cache
from proa.ml.serving.operator.model_cache import GRACE_SECONDS, ModelCacheController, revision_of
from proa.ml.serving.revisions.conversions import make_conversions
from proa.ml.serving.revisions.model_files import Source, StorageSettings, make_model_files
from proa.ml.serving.settings import ServingSettings
from proa.objects.resource import DEPLOYMENTS
from proa.reconcile.manager import Manager


def make_deployment(uri: str) -> dict[str, Any]:
    files = make_model_files(
        [Source(uri)],
        StorageSettings(cache="/cache"),
        revision="iris-predictor-00001-abc",
        uid="u-1",
        namespace={"metadata": {"name": "team"}},
        annotations={},
    )
    labels = {"serving.kserve.io/inferenceservice": "iris"}
    metadata = {"name": "iris-predictor-00001-deployment", "namespace": "team", "labels": labels}
    return {
        "metadata": metadata,
        "spec": {"template": {"spec": {"initContainers": list(files.init_containers)}}},
    }


def test_a_deployment_tells_which_folder_of_a_store_its_pods_need() -> None:
    assert revision_of(make_deployment("s3://bucket/iris")) == "u-1/iris-predictor-00001-abc"
    assert revision_of(make_deployment("pvc://claim/iris")) == ""
    assert revision_of({"spec": {"template": {"spec": {}}}}) == ""


def test_so_does_the_folder_of_what_the_pods_of_a_mounted_model_have_made() -> None:
    namespace, isvc = {"metadata": {"name": "team"}}, {"metadata": {"uid": "u-1"}}
    deployment = make_deployment("pvc://claim/iris")
    volumes = [make_conversions("/cache", namespace, isvc, "iris-predictor-00001-abc")]
    deployment["spec"]["template"]["spec"]["volumes"] = volumes
    assert revision_of(deployment) == "u-1/iris-predictor-00001-abc"
    deployment["spec"]["template"]["spec"]["volumes"] = [make_conversions("", namespace, isvc, "x")]
    assert revision_of(deployment) == ""


async def look(cache: Path, later_seconds: float) -> None:
    """Have the controller look once, at a time from now."""
    client = FakeClient()
    client.add(DEPLOYMENTS, make_deployment("s3://bucket/iris"))
    controller = ModelCacheController(ServingSettings(Door(), model_cache=str(cache)))
    manager = Manager(client, (controller,), now=lambda: time.time() + later_seconds, random=lambda: 0.5)
    await manager.start()
    try:
        quiet = 0
        async with asyncio.timeout(60):
            while quiet < 30:
                await asyncio.sleep(0)
                quiet = quiet + 1 if manager.is_idle() else 0
    finally:
        await manager.stop()


def test_what_no_deployment_needs_goes_in_all_namespaces_after_a_while(tmp_path: Path) -> None:
    live = tmp_path / "team/revisions/u-1/iris-predictor-00001-abc"
    dead = [tmp_path / "team/revisions/u-1/iris-predictor-00000-abc", tmp_path / "other/revisions/u-2/x"]
    for folder in (live, *dead):
        (folder / "files").mkdir(parents=True)
    asyncio.run(look(tmp_path, 0.0))
    assert all(folder.exists() for folder in (live, *dead))
    asyncio.run(look(tmp_path, GRACE_SECONDS + 5))
    assert [folder.exists() for folder in (live, *dead)] == [True, False, False]


def test_what_pods_have_made_is_bounded_a_revision_and_a_namespace_and_goes_with_the_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "team/revisions/u-1/converted"
    live, dead = made / "iris-predictor-00001-abc", made / "iris-predictor-00000-abc"
    for folder in (live, dead):
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"form{number}.onnx").write_bytes(bytes(100_000))
            os.utime(folder / f"form{number}.onnx", (number, number + (folder is live)))
    monkeypatch.setattr(model_cache, "MOST_BYTES", 250_000)
    monkeypatch.setattr(model_cache, "MOST_OF_NAMESPACE_BYTES", 350_000)
    asyncio.run(look(tmp_path, 0.0))
    assert sorted(path.name for path in live.iterdir()) == ["form1.onnx", "form2.onnx"]
    assert [path.name for path in dead.iterdir()] == ["form2.onnx"]
    asyncio.run(look(tmp_path, GRACE_SECONDS + 5))
    assert sorted(path.name for path in made.iterdir()) == [live.name]
