"""What a pod is given: few mounts, credentials for who needs them, nothing that expands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.ml.pipelines.artifacts.choice import ArtifactStores, StoreSettings
from proa.ml.pipelines.artifacts.claims import CLAIM
from proa.ml.pipelines.artifacts.placement import DELIVER, FETCH, MAX_FETCHED, explain_delivery
from proa.ml.pipelines.artifacts.protocol import ArtifactError, Placement
from proa.ml.pipelines.records import Artifact
from proa.objects.resource import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, SECRETS

RUN = "minio://mlpipeline/v2/artifacts/pipe/run-1"
ROOT = f"{RUN}/train/salt"
PROVIDERS = """
s3:
  default:
    endpoint: store.example:9000
    credentials: {secretRef: {secretName: keys, accessKeyKey: a, secretKeyKey: s}}
  overrides:
  - {bucketName: open, credentials: {fromEnv: true}}
"""


def prepare(
    tmp_path: Path, inputs: Sequence[Artifact], root: str = ROOT, files: Sequence[str] = ()
) -> Placement:
    async def whole() -> Placement:
        client = FakeClient()
        metadata = {"name": "kfp-launcher", "namespace": "team"}
        await client.create(CONFIG_MAPS, {"metadata": metadata, "data": {"providers": PROVIDERS}}, "team")
        client.add(
            SECRETS, {"metadata": {"name": "keys", "namespace": "team"}, "data": {"a": "eA==", "s": "eQ=="}}
        )
        stores = ArtifactStores(client, StoreSettings(tmp_path / "artifacts", image="proa:1"))
        store = await stores.of("team")
        for uri in files:
            await store.write(uri, b"1")
        try:
            return await store.prepare(inputs, root)
        finally:
            await stores.close()

    return asyncio.run(whole())


def artifact(uri: str, run_id: str = "", **more: Any) -> Artifact:
    return Artifact(id=uri, name="x", uri=uri, run_id=run_id, **more)


def test_a_thousand_inputs_of_a_run_are_one_read_only_mount(tmp_path: Path) -> None:
    inputs = [artifact(f"{RUN}/load-{number}/salt/data", "run-1") for number in range(1000)]

    placement = prepare(tmp_path, inputs, files=[f"{RUN}/load-1/salt/data"])

    run, own, kfp, _ = placement.mounts
    assert run == {
        "name": "pipeline-artifacts",
        "mountPath": "/minio/mlpipeline/v2/artifacts/pipe/run-1",
        "subPath": "mlpipeline/v2/artifacts/pipe/run-1",
        "readOnly": True,
    }
    assert own["mountPath"] == "/minio/mlpipeline/v2/artifacts/pipe/run-1/train/salt"
    assert "readOnly" not in own
    assert (kfp["mountPath"], kfp["subPath"]) == ("/tmp/kfp", f"{own['subPath']}/.proa/kfp")
    assert [volume["persistentVolumeClaim"] for volume in placement.volumes] == [{"claimName": CLAIM}]
    assert not placement.init_containers
    assert not placement.sidecars
    assert placement.grace_seconds == 0


def test_other_runs_and_imports_are_mounted_beside_it(tmp_path: Path) -> None:
    cached, imported = "minio://mlpipeline/v2/artifacts/pipe/run-0", "minio://data/set/train.csv"
    inputs = [
        artifact(f"{cached}/load/salt/data", "run-0"),
        artifact(imported),
        artifact("minio://data/set/gone.csv"),
        artifact("https://example.com/x"),
    ]

    placement = prepare(tmp_path, inputs, files=[f"{cached}/load/salt/data", imported])

    read_only = [mount["mountPath"] for mount in placement.mounts if mount.get("readOnly")]
    assert read_only == ["/minio/data/set/train.csv", "/minio/mlpipeline/v2/artifacts/pipe/run-0"]


def test_no_mount_is_within_another_one(tmp_path: Path) -> None:
    files = ["minio://data/a/x", "minio://data/a-b/x", "minio://data/a/b/x"]
    inputs = [artifact(uri) for uri in ("minio://data/a", "minio://data/a-b", "minio://data/a/b")]

    placement = prepare(tmp_path, inputs, files=files)

    read_only = [mount["mountPath"] for mount in placement.mounts if mount.get("readOnly")]
    assert read_only == ["/minio/data/a", "/minio/data/a-b"]


def test_inputs_of_buckets_are_fetched_also_for_a_folder(tmp_path: Path) -> None:
    inputs = [
        artifact("s3://private/a$(PROA_BUCKET_1_SECRET_KEY)"),
        artifact("s3://open/b"),
        artifact("s3://open/b"),
    ]

    placement = prepare(tmp_path, inputs)

    (fetch,) = placement.init_containers
    assert (fetch["name"], fetch["image"]) == (FETCH, "proa:1")
    verb, told, *wanted = fetch["args"]
    assert verb == "fetch"
    numbers = {one["hasCredentials"]: number for number, one in enumerate(json.loads(told))}
    assert wanted == [
        f"{numbers[False]}=s3://open/b",
        f"{numbers[True]}=s3://private/a$$(PROA_BUCKET_1_SECRET_KEY)",
    ]
    secrets = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in fetch["env"]}
    assert secrets == {
        f"PROA_BUCKET_{numbers[True]}_ACCESS_KEY": {"name": "keys", "key": "a"},
        f"PROA_BUCKET_{numbers[True]}_SECRET_KEY": {"name": "keys", "key": "s"},
    }
    assert {"name": "pipeline-scratch", "mountPath": "/s3", "subPath": "in/s3"} in placement.mounts
    assert sorted(volume["name"] for volume in placement.volumes) == [
        "pipeline-artifacts",
        "pipeline-scratch",
    ]


def test_outputs_for_a_bucket_are_delivered_by_a_sidecar_that_is_ready_first(tmp_path: Path) -> None:
    placement = prepare(
        tmp_path, [artifact(f"{RUN}/a/salt/x", "run-1")], "s3://private/run/task/salt", [f"{RUN}/a"]
    )

    (sidecar,) = placement.sidecars
    assert (sidecar["name"], sidecar["restartPolicy"]) == (DELIVER, "Always")
    assert "postStart" in sidecar["lifecycle"]
    assert placement.grace_seconds >= 60
    paths = [mount["mountPath"] for mount in placement.mounts]
    assert paths == [
        "/minio/mlpipeline/v2/artifacts/pipe/run-1",
        "/s3/private/run/task/salt",
        "/tmp/kfp",
        "/tmp/kfp/outputs",
    ]
    assert all("PROA_BUCKET" not in json.dumps(mount) for mount in placement.mounts)


def test_outputs_that_could_not_be_read_are_told_before_the_step_runs(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="this server's own are not used"):
        prepare(tmp_path, [], "s3://open/run/task/salt")


def test_images_and_what_a_workspace_has_need_no_fetching(tmp_path: Path) -> None:
    inputs = [
        artifact("oci://registry/model:v1"),
        artifact("oci://registry/model:v1"),
        artifact("s3://open/b", metadata={"_kfp_workspace": True}),
    ]

    placement = prepare(tmp_path, inputs)

    image = next(volume for volume in placement.volumes if "image" in volume)
    assert image["image"] == {"reference": "registry/model:v1"}
    mounts = [mount for mount in placement.mounts if mount["name"] == image["name"]]
    assert mounts == [
        {
            "name": image["name"],
            "mountPath": "/oci/registry_model:v1/models",
            "subPath": "models",
            "readOnly": True,
        }
    ]
    assert not placement.init_containers


def test_a_delivery_that_failed_is_told_in_its_own_words() -> None:
    ended = {"name": DELIVER, "state": {"terminated": {"exitCode": 1, "message": "no such bucket\n"}}}
    good = {"name": DELIVER, "state": {"terminated": {"exitCode": 0, "message": "fine"}}}

    assert explain_delivery({"status": {"initContainerStatuses": [ended]}}) == "no such bucket"
    assert explain_delivery({"status": {"initContainerStatuses": [good]}}) == ""
    assert explain_delivery({"status": {}}) == ""


def test_too_many_inputs_to_fetch_are_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=str(MAX_FETCHED)):
        prepare(tmp_path, [artifact(f"s3://open/{number}") for number in range(MAX_FETCHED + 1)])


def ensure(client: FakeClient, folder: Path) -> None:
    async def whole() -> None:
        stores = ArtifactStores(client, StoreSettings(folder))
        await (await stores.of("team")).prepare([], ROOT)
        await stores.close()

    asyncio.run(whole())


def test_a_namespace_gets_its_claim_and_a_volume_that_only_this_machines_nodes_have(tmp_path: Path) -> None:
    client = FakeClient()
    ensure(client, tmp_path)
    ensure(client, tmp_path)

    claim = client.peek(PERSISTENT_VOLUME_CLAIMS, CLAIM, "team")
    volume = client.peek(PERSISTENT_VOLUMES, "pipeline-artifacts-team")
    assert claim is not None
    assert volume is not None
    assert claim["spec"]["volumeName"] == "pipeline-artifacts-team"
    assert volume["spec"]["hostPath"]["path"] == str(tmp_path / "team")
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert terms == [
        {"matchExpressions": [{"key": "proa.local/machine", "operator": "In", "values": ["own"]}]}
    ]


def test_a_namespace_that_returns_gets_its_volume_again(tmp_path: Path) -> None:
    client = FakeClient()
    ensure(client, tmp_path)
    volume = client.peek(PERSISTENT_VOLUMES, "pipeline-artifacts-team")
    assert volume is not None
    spec = volume["spec"] | {"claimRef": volume["spec"]["claimRef"] | {"uid": "old", "resourceVersion": "1"}}
    asyncio.run(client.update(PERSISTENT_VOLUMES, volume | {"spec": spec}))

    ensure(client, tmp_path)

    volume = client.peek(PERSISTENT_VOLUMES, "pipeline-artifacts-team")
    assert volume is not None
    assert not volume["spec"]["claimRef"].get("uid")


def test_a_claim_of_another_volume_is_not_taken_for_ours(tmp_path: Path) -> None:
    client = FakeClient()
    metadata = {"name": CLAIM, "namespace": "team"}
    client.add(PERSISTENT_VOLUME_CLAIMS, {"metadata": metadata, "spec": {"volumeName": "nfs"}})

    with pytest.raises(ArtifactError, match="team/pipeline-artifacts is of volume nfs"):
        ensure(client, tmp_path)
