"""What lets a model's download in."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from proa.ml.serving.revisions.credentials import (
    StorageSpec,
    make_access,
    read_config,
    resolve_spec,
    secret_names,
)
from proa.ml.serving.revisions.model_files import Access, InvalidStorage

ACCOUNT = {"metadata": {"name": "sa", "namespace": "team"}, "secrets": [{"name": "one"}, {"name": "two"}]}


def make_secret(name: str = "one", annotations: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    encoded = {key.replace("__", "-").replace("_DOT_", "."): _encode(value) for key, value in data.items()}
    return {"metadata": {"name": name, "annotations": annotations or {}}, "data": encoded}


def _encode(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def values(access: Access) -> dict[str, str]:
    """Return variables' values, as `secret/key` where they are of one."""
    found = {}
    for one in access.env:
        reference = one.get("valueFrom", {}).get("secretKeyRef")
        found[one["name"]] = f"{reference['name']}/{reference['key']}" if reference else one["value"]
    return found


def test_secrets_are_the_service_accounts_unless_an_annotation_names_one() -> None:
    assert secret_names(ACCOUNT, {}) == ["one", "two"]
    assert secret_names(ACCOUNT, {"serving.kserve.io/storageSecretName": "mine"}) == ["mine"]
    assert secret_names(ACCOUNT, {"x": "mine"}, {"storageSecretNameAnnotation": "x"}) == ["mine"]
    assert secret_names(None, {}) == []


@pytest.mark.parametrize(
    "names", [("awsAccessKeyID", "awsSecretAccessKey"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
)
def test_an_s3_secrets_keys_are_referred_to_and_its_annotations_become_settings(
    names: tuple[str, str],
) -> None:
    said = {
        "serving.kserve.io/s3-endpoint": "minio:9000",
        "serving.kserve.io/s3-usehttps": "0",
        "serving.kserve.io/s3-region": "eu-1",
        "serving.kserve.io/s3-useanoncredential": "false",
        "serving.kserve.io/s3-verifyssl": "0",
    }
    found = make_access(ACCOUNT, [make_secret("one", said, **{names[0]: "id", names[1]: "key"})])
    assert values(found) == {
        "AWS_ACCESS_KEY_ID": f"one/{names[0]}",
        "AWS_SECRET_ACCESS_KEY": f"one/{names[1]}",
        "S3_USE_HTTPS": "0",
        "S3_ENDPOINT": "minio:9000",
        "AWS_ENDPOINT_URL": "http://minio:9000",
        "S3_VERIFY_SSL": "0",
        "awsAnonymousCredential": "false",
        "AWS_DEFAULT_REGION": "eu-1",
    }
    assert "key" not in str(found.hint)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("https://s3.example", "https://s3.example"),
        ("http://s3.example", "http://s3.example"),
        ("s3.example", "https://s3.example"),
    ],
)
def test_an_endpoints_scheme_is_its_own_else_https(endpoint: str, url: str) -> None:
    secret = make_secret(awsAccessKeyID="a", awsSecretAccessKey="b", S3_ENDPOINT=endpoint)
    assert values(make_access(None, [secret]))["AWS_ENDPOINT_URL"] == url


def test_the_configuration_says_what_neither_annotation_nor_key_does() -> None:
    secret = make_secret(awsAccessKeyID="a", awsSecretAccessKey="b", AWS_DEFAULT_REGION="of-key")
    config = read_config({"credentials": json.dumps({"s3": {"s3Region": "of-config", "s3Endpoint": "e"}})})
    found = values(make_access(None, [secret], config))
    assert (found["AWS_DEFAULT_REGION"], found["AWS_ENDPOINT_URL"]) == ("of-key", "https://e")


def test_a_service_account_with_a_role_of_aws_says_settings_too() -> None:
    said = {"eks.amazonaws.com/role-arn": "arn", "serving.kserve.io/s3-region": "eu-1"}
    assert values(make_access({"metadata": {"name": "sa", "annotations": said}}, [])) == {
        "AWS_DEFAULT_REGION": "eu-1"
    }


def test_a_ca_bundles_config_map_is_mounted() -> None:
    said = {"serving.kserve.io/s3-cabundle-configmap": "ca"}
    found = make_access(None, [make_secret("one", said, awsAccessKeyID="a", awsSecretAccessKey="b")])
    assert found.volumes == ({"name": "s3-cabundle", "configMap": {"name": "ca"}},)
    assert values(found)["AWS_CA_BUNDLE"] == "/etc/ssl/s3-certs/cabundle.crt"


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (make_secret(HF_TOKEN="t"), {"HF_TOKEN": "HF_TOKEN"}),
        (make_secret(https__host="models.example", headers="{}"), {"models.example-headers": "headers"}),
        (
            make_secret(AZ_CLIENT_ID="i", AZ_CLIENT_SECRET="s"),
            {"AZURE_CLIENT_ID": "AZ_CLIENT_ID", "AZURE_CLIENT_SECRET": "AZ_CLIENT_SECRET"},
        ),
        (make_secret(AZURE_STORAGE_ACCESS_KEY="k"), {"AZURE_STORAGE_ACCESS_KEY": "AZURE_STORAGE_ACCESS_KEY"}),
        (
            make_secret(MLFLOW_TRACKING_URI="u", MLFLOW_TRACKING_TOKEN="t"),
            {name: name for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN")},
        ),
        (make_secret(GIT_USERNAME="u", GIT_PASSWORD="p"), {n: n for n in ("GIT_USERNAME", "GIT_PASSWORD")}),
        (make_secret(password="x"), {}),
    ],
    ids=["hugging face", "headers", "azure, as it was", "azure", "mlflow", "git", "another"],
)
def test_a_secrets_kind_is_told_by_its_keys(secret: dict[str, Any], expected: dict[str, str]) -> None:
    assert values(make_access(None, [secret])) == {name: f"one/{key}" for name, key in expected.items()}


def test_googles_file_is_mounted() -> None:
    secret = make_secret(gcloud__application__credentials_DOT_json="{}")
    found = make_access(None, [secret])
    assert found.volumes == ({"name": "user-gcp-sa", "secret": {"secretName": "one"}},)
    assert values(found) == {
        "GOOGLE_APPLICATION_CREDENTIALS": "/var/secrets/gcloud-application-credentials.json"
    }


def test_a_registrys_credentials_are_mounted_where_the_pull_looks_for_them() -> None:
    found = make_access(None, [make_secret(_DOT_dockerconfigjson="{}")])
    assert found.mounts == ({"name": "oci-fetch-auth", "mountPath": "/mnt/oci-fetch-auth", "readOnly": True},)
    assert found.volumes[0]["secret"]["items"] == [{"key": ".dockerconfigjson", "path": "config.json"}]


def test_a_storage_key_gives_bucket_and_credentials() -> None:
    secret = make_secret(
        "storage-config", minio=json.dumps({"type": "s3", "bucket": "models", "access_key_id": "a"})
    )
    uri, access = resolve_spec(StorageSpec("minio", "iris/1"), secret)
    assert uri == "s3://models/iris/1"
    assert values(access) == {"STORAGE_CONFIG": "storage-config/minio"}


def test_parameters_win_over_what_the_secret_says() -> None:
    secret = make_secret("storage-config", default_s3=json.dumps({"type": "s3", "bucket": "models"}))
    uri, access = resolve_spec(StorageSpec("", "iris", {"type": "s3", "bucket": "other"}), secret)
    assert uri == "s3://other/iris"
    assert json.loads(values(access)["STORAGE_OVERRIDE_CONFIG"])["bucket"] == "other"


@pytest.mark.parametrize(
    ("spec", "secret", "words"),
    [
        (StorageSpec("k", "p"), None, "can't read storage secret storage-config"),
        (StorageSpec("k", "p"), make_secret(other="{}"), "specified storage key k not found"),
        (StorageSpec("k", "p"), make_secret(k="nonsense"), "invalid json encountered in key k"),
        (StorageSpec("", "p"), None, "unable to determine storage type"),
        (StorageSpec("k", "p"), make_secret(k='{"type": "s3"}'), "requires a bucket"),
        (StorageSpec("k", "p"), make_secret(k='{"type": "nfs"}'), r"storage type \[nfs\] is not supported"),
    ],
)
def test_a_storage_that_leads_nowhere_is_refused(
    spec: StorageSpec, secret: dict[str, Any] | None, words: str
) -> None:
    with pytest.raises(InvalidStorage, match=words):
        resolve_spec(spec, secret)
