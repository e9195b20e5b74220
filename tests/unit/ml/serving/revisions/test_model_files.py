"""What a pod gets so that its containers find a model's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proa.ml.serving.revisions.model_files import (
    READ_ONLY,
    Access,
    InvalidStorage,
    ModelFiles,
    Source,
    StorageSettings,
    check_uri,
    make_model_files,
)

CACHE = StorageSettings(cache="/var/models")


def make_namespace(level: str = "") -> dict[str, Any]:
    labels = {"pod-security.kubernetes.io/enforce": level} if level else {}
    return {"metadata": {"name": "team", "labels": labels}}


def files_of(*sources: Source | str, settings: StorageSettings = CACHE, **more: Any) -> ModelFiles:
    given = {
        "revision": "iris-predictor-00001",
        "uid": "u-1",
        "namespace": make_namespace(),
        "annotations": {},
    }
    made = [one if isinstance(one, Source) else Source(one) for one in sources]
    return make_model_files(made, settings, **(given | more))


def test_a_claim_is_mounted_where_the_model_is_looked_for_and_nothing_is_fetched() -> None:
    found = files_of("pvc://models/iris/1")
    assert found.init_containers == ()
    assert found.volumes == ({"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": "models"}},)
    assert found.mounts == (
        {"name": "kserve-pvc-source", "mountPath": "/mnt/models", "subPath": "iris/1", "readOnly": True},
    )


@pytest.mark.parametrize("uri", ["oci://registry/iris:1", "oci+native://registry/iris:1"])
def test_an_image_is_mounted_as_a_volume(uri: str) -> None:
    found = files_of(uri)
    assert found.init_containers == ()
    assert found.volumes[0]["image"] == {"reference": "registry/iris:1", "pullPolicy": "IfNotPresent"}
    assert found.mounts[0]["subPath"] == "models"


@pytest.mark.parametrize("uri", ["oci+fetch://registry/iris:1", "oci://registry/iris:1"])
def test_an_image_is_pulled_by_the_initializer_where_image_volumes_are_not_wanted(uri: str) -> None:
    found = files_of(uri, settings=CACHE._replace(oci_mode="fetch"))
    assert uri in found.init_containers[0]["command"]


def test_what_is_fetched_is_in_the_nodes_cache_of_the_namespace_and_seen_read_only() -> None:
    found = files_of("s3://bucket/iris")
    assert found.volumes == (
        {"name": "kserve-model-store", "hostPath": {"path": "/var/models/team", "type": "DirectoryOrCreate"}},
    )
    assert found.mounts == (
        {
            "name": "kserve-model-store",
            "mountPath": "/mnt/models",
            "subPath": "revisions/u-1/iris-predictor-00001/files",
            "readOnly": True,
        },
    )
    command = found.init_containers[0]["command"]
    assert command[:4] == [
        "/bin/sh",
        "-c",
        '[ -f "$0" ] || exec "$@"',
        "/mnt/store/revisions/u-1/iris-predictor-00001/complete",
    ]
    assert command[-3:] == ["--", "s3://bucket/iris", "."]


@pytest.mark.parametrize(
    ("level", "annotations", "settings"),
    [
        ("restricted", {}, CACHE),
        ("baseline", {}, CACHE),
        ("", {READ_ONLY: "false"}, CACHE),
        ("", {}, StorageSettings()),
    ],
    ids=["restricted", "baseline", "writable", "no cache"],
)
def test_a_pod_has_a_store_of_its_own_where_it_may_not_share_one(
    level: str, annotations: dict[str, str], settings: StorageSettings
) -> None:
    found = files_of(
        "s3://bucket/iris", namespace=make_namespace(level), annotations=annotations, settings=settings
    )
    assert found.volumes == ({"name": "kserve-model-store", "emptyDir": {}},)
    assert ("readOnly" in found.mounts[0]) is not bool(annotations)
    assert "runAsUser" not in found.init_containers[0]["securityContext"]


def test_files_of_the_node_are_shown_to_the_initializer_alone_and_only_where_host_paths_may_be_mounted() -> (
    None
):
    found = files_of("file:///home/me/iris.joblib")
    assert {"name": "kserve-source-0", "hostPath": {"path": "/home/me/iris.joblib"}} in found.volumes
    named = files_of(Path("/home/my ïris").as_uri())
    assert {"name": "kserve-source-0", "hostPath": {"path": "/home/my ïris"}} in named.volumes
    assert named.init_containers[0]["volumeMounts"][-1]["mountPath"] == "/mnt/sources/0/my ïris"
    assert [mount["mountPath"] for mount in found.mounts] == ["/mnt/models"]
    assert "hostPath" not in str(files_of("file:///a", namespace=make_namespace("baseline")).volumes)


def test_several_sources_are_below_their_common_folder() -> None:
    found = files_of(
        Source("hf://org/base", "/mnt/models/base"),
        Source("s3://b/adapter", "/mnt/models/adapters/one"),
        Source("pvc://claim/x", "/mnt/data"),
    )
    assert found.init_containers[0]["command"][-5:] == [
        "--",
        "hf://org/base",
        "base",
        "s3://b/adapter",
        "adapters/one",
    ]
    assert [mount["mountPath"] for mount in found.mounts] == ["/mnt/data", "/mnt/models"]


def test_credentials_are_the_initializers_alone() -> None:
    access = Access(
        ({"name": "HF_TOKEN", "value": "x"},), ({"name": "v"},), ({"name": "v", "mountPath": "/v"},)
    )
    found = files_of("hf://org/base", access=access)
    assert found.init_containers[0]["env"] == [{"name": "HF_TOKEN", "value": "x"}]
    assert {"name": "v"} in found.volumes
    assert "/v" not in str(found.mounts)


def test_what_the_models_container_says_of_storage_counts_for_its_download() -> None:
    env = [{"name": "MLFLOW_TRACKING_URI", "value": "http://t"}, {"name": "OMP_NUM_THREADS", "value": "1"}]
    assert files_of("mlflow://m/1", env=env).init_containers[0]["env"] == env[:1]


def test_a_uri_reaches_the_initializer_as_it_is_written() -> None:
    assert "http://h/$$(HOME)" in files_of("http://h/$(HOME)").init_containers[0]["command"]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ftp://host/x", "supported prefixes are pvc://"),
        ("ftp://host/x", "mlflow://, file://"),
        ("/local/path", "supported prefixes are"),
        ("s3://", "names nothing"),
        ("https://h/model.onnx#sha256=0123", "'0123' is no SHA-256 of 64 hexadecimal digits"),
        ("pvc://Bad_Name/x", "no name of a claim"),
        ("pvc://claim/../x", "'..'"),
        ("http://h/a b", "no spaces"),
        ("http://h/" + "a" * 3000, "at most 2048"),
    ],
)
def test_a_uri_that_cannot_be_served_is_refused_with_what_would(uri: str, words: str) -> None:
    with pytest.raises(InvalidStorage, match=words.replace("(", r"\(")):
        check_uri(uri)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([Source("s3://b/x", "models")], "storage path must be absolute: models"),
        ([Source("s3://b/x", "/mnt/../etc")], "cannot contain"),
        ([Source("s3://b/x", "/a"), Source("s3://b/y", "/b")], "have no common parent beyond root"),
        ([Source("s3://b/x", "/a"), Source("s3://b/y", "/a")], "a mountPath of its own"),
        ([Source("file:///../etc", "/a")], "'..'"),
        ([Source("file:///a/%2e%2E/etc", "/a")], "'..'"),
    ],
)
def test_paths_that_cannot_be_mounted_are_refused(sources: list[Source], words: str) -> None:
    with pytest.raises(InvalidStorage, match=words):
        files_of(*sources)
