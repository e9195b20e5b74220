"""The ConfigMap kfp-launcher: which provider, which override, which credentials, as upstream reads it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from proa.ml.pipelines.artifacts import uris
from proa.ml.pipelines.artifacts.bucket_settings import BucketSettings, SecretKeys, from_json, read, to_json
from proa.ml.pipelines.artifacts.protocol import DEFAULT_ROOT, ArtifactError

REFERENCE = {"secretName": "keys", "accessKeyKey": "a", "secretKeyKey": "s"}
KEYS = SecretKeys("keys", "a", "s")


def config(providers: Any = None, root: str = "") -> dict[str, Any]:
    data = {"providers": yaml.safe_dump(providers)} if providers is not None else {}
    return {"data": data | ({"defaultPipelineRoot": root} if root else {})}


def settings(config_map: dict[str, Any], uri: str) -> BucketSettings:
    return read(config_map).settings(uris.parse(uri))


def test_without_a_config_map_minio_is_the_folder_of_this_machine() -> None:
    found = read(None)

    assert found.root == DEFAULT_ROOT
    assert found.is_folder(uris.parse("minio://any/key"))
    assert not found.is_folder(uris.parse("s3://any/key"))


def test_where_no_folder_is_shared_minio_is_upstreams_own_store() -> None:
    found = settings({}, DEFAULT_ROOT)

    assert (found.endpoint, found.disable_ssl) == ("seaweedfs.kubeflow:9000", True)
    assert found.secret == SecretKeys("mlpipeline-minio-artifact", "accesskey", "secretkey")


def test_a_provider_without_a_match_takes_its_default() -> None:
    default = {"endpoint": "s3.amazonaws.com", "region": "us-east-2", "credentials": {"secretRef": REFERENCE}}

    found = settings(config({"s3": {"default": default}}), "s3://bucket/key")

    assert found == BucketSettings("s3", "s3.amazonaws.com", "us-east-2", secret=KEYS)


def test_the_first_override_of_bucket_and_prefix_counts() -> None:
    default = {"endpoint": "one", "region": "r", "credentials": {"fromEnv": True}, "maxRetries": 3}
    other = REFERENCE | {"secretName": "other"}
    overrides = [
        {"bucketName": "b", "keyPrefix": "private/", "credentials": {"secretRef": other}, "disableSSL": True},
        {
            "bucketName": "b",
            "endpoint": "two",
            "credentials": {"secretRef": REFERENCE},
            "forcePathStyle": False,
        },
    ]
    given = config({"minio": {"default": default, "Overrides": overrides}})

    assert settings(given, "minio://c/x") == BucketSettings("minio", "one", "r", max_retries=3)
    assert settings(given, "minio://b/x").endpoint == "two"
    assert settings(given, "minio://b/x").path_style is False
    assert settings(given, "minio://b/private/x").secret == SecretKeys("other", "a", "s")
    assert settings(given, "minio://b/private").disable_ssl is True
    assert not read(given).is_folder(uris.parse("minio://b/x"))


def test_a_query_of_the_root_says_how_to_reach_what_is_below_it() -> None:
    given = config(
        root="s3://bucket/root?region=eu-west-1&endpoint=store:9000&disable_https=true&anonymous=true"
    )

    found = settings(given, "s3://bucket/root/run/task")

    assert found == BucketSettings("s3", "store:9000", "eu-west-1", disable_ssl=True, anonymous=True)
    assert settings(given, "s3://bucket/elsewhere") == BucketSettings("s3")
    assert not read(config(root="minio://b/root?endpoint=x")).is_folder(uris.parse("minio://b/root/run"))


def test_google_has_its_credentials_in_one_key() -> None:
    reference = {"secretName": "gcp", "tokenKey": "key.json"}

    found = settings(config({"gs": {"default": {"credentials": {"secretRef": reference}}}}), "gs://b/k")

    assert found.secret == SecretKeys("gcp", "", "key.json")


@pytest.mark.parametrize(
    ("providers", "words"),
    [
        ({"s3": {"default": {"endpoint": "x"}}}, "missing default credentials"),
        ({"s3": {"overrides": [{"bucketName": "b"}]}}, "missing default credentials"),
        (
            {"s3": {"default": {"credentials": {"fromEnv": True}}, "overrides": [{"bucketName": "b"}]}},
            "override",
        ),
        ({"s3": {"default": {"credentials": {}}}}, "secretRef needs secretName, accessKeyKey, secretKeyKey"),
        ({"s3": {"default": {"credentials": {"fromEnv": "yes"}}}}, "fromEnv: 'yes' is not true or false"),
        ({"s3": {"default": {"credentials": {"fromEnv": True}, "maxRetries": -1}}}, "maxRetries"),
        ({"s3": ["x"]}, "s3 is not a mapping"),
        (["s3"], "providers is not a mapping"),
    ],
)
def test_what_is_not_said_right_is_told(providers: Any, words: str) -> None:
    with pytest.raises(ArtifactError, match=f"kfp-launcher.*{words}"):
        settings(config(providers), "s3://b/k")


def test_what_is_no_yaml_or_no_root_is_told() -> None:
    with pytest.raises(ArtifactError, match="ensure that providers config is well formed"):
        read({"data": {"providers": "a: [}"}})
    with pytest.raises(ArtifactError, match="defaultPipelineRoot"):
        read(config(root="file:///data"))


def test_a_pod_is_told_all_but_the_secret() -> None:
    told = BucketSettings("s3", "host:1", "r", disable_ssl=True, path_style=False, max_retries=2, secret=KEYS)

    assert from_json(to_json(told)) == BucketSettings(
        "s3", "host:1", "r", disable_ssl=True, path_style=False, max_retries=2
    )
    assert "keys" not in str(to_json(told))
