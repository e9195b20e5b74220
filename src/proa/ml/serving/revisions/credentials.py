"""What lets a model's download in: a service account's secrets, or a key of the secret storage-config.

Pure. It is the init container's alone. Values stay in their secrets: the container's
environment refers to them. Kinds of secrets are told by their keys.

Source: KServe's pkg/credentials (service_account_credentials.go, s3, gcs, azure, https, hf).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from proa.ml.serving.revisions.model_files import Access, InvalidStorage
from proa.objects import meta

Object = dict[str, Any]

SECRET_ANNOTATION = "serving.kserve.io/storageSecretName"  # noqa: S105  a name
IRSA = "eks.amazonaws.com/role-arn"
GCS_FOLDER, GCS_VOLUME = "/var/secrets/", "user-gcp-sa"
DOCKER_KEY, DOCKER_FOLDER, DOCKER_VOLUME = ".dockerconfigjson", "/mnt/oci-fetch-auth", "oci-fetch-auth"
STORAGE_TYPES, BUCKET_TYPES = ("s3", "gs", "hdfs", "webhdfs"), ("s3", "gs")
_S3_PREFIX = "serving.kserve.io/"
_S3: tuple[tuple[str, str, str], ...] = (  # variable, annotation, field of the ConfigMap's credentials.s3
    ("S3_VERIFY_SSL", "s3-verifyssl", "s3VerifySSL"),
    ("awsAnonymousCredential", "s3-useanoncredential", "s3UseAnonymousCredential"),
    ("AWS_DEFAULT_REGION", "s3-region", "s3Region"),
    ("S3_USER_VIRTUAL_BUCKET", "s3-usevirtualbucket", "s3UseVirtualBucket"),
    ("S3_USE_ACCELERATE", "s3-useaccelerate", "s3UseAccelerate"),
    ("AWS_CA_BUNDLE", "s3-cabundle", "s3CABundle"),
    ("AWS_CA_BUNDLE_CONFIGMAP", "s3-cabundle-configmap", "s3CABundleConfigMap"),
)
_AZURE = (
    "AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_ACCESS_TOKEN", "AZURE_ACCESS_EXPIRES_ON_SECONDS", "AZURE_ACCOUNT_NAME", "AZURE_SERVICE_URL",
)  # fmt: skip
_AZURE_SIGNS = ("AZ_CLIENT_ID", "AZURE_CLIENT_ID", "AZURE_ACCESS_TOKEN", "AZURE_STORAGE_ACCESS_KEY")
_PLAIN = ("HF_TOKEN", "MLFLOW_TRACKING_URI")
"""A secret with one of these keys: all of its keys of the same family become variables."""
_OF_FAMILY = ("HF_TOKEN", "HF_ENDPOINT"), (
    "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
)  # fmt: skip
_GIT = ("GIT_USERNAME", "GIT_PASSWORD")


class StorageSpec(NamedTuple):
    """A model's `storage`: instead of storageUri, a key of the namespace's secret and a path."""

    key: str = ""
    path: str = ""
    parameters: Mapping[str, str] = {}


def read_config(data: Mapping[str, str]) -> Mapping[str, Any]:
    """Return `credentials` of the ConfigMap inferenceservice-config; raise InvalidStorage."""
    try:
        config = json.loads(data.get("credentials") or "{}")
    except ValueError as error:
        raise InvalidStorage(f"ConfigMap inferenceservice-config, credentials: {error}") from None
    if not isinstance(config, dict):
        raise InvalidStorage("ConfigMap inferenceservice-config, credentials: no JSON object")
    return config


def secret_names(
    account: Object | None, annotations: Mapping[str, str], config: Mapping[str, Any] = {}
) -> list[str]:
    """Return the secrets that a download may use: the annotation's, else the service account's."""
    named = annotations.get(config.get("storageSecretNameAnnotation") or SECRET_ANNOTATION)
    if named:
        return [named]
    return [one["name"] for one in (account or {}).get("secrets") or () if one.get("name")]


def make_access(account: Object | None, secrets: Sequence[Object], config: Mapping[str, Any] = {}) -> Access:
    """Return what these secrets (of `secret_names`, those that there are) and the service account give."""
    env: dict[str, Object] = {}
    volumes: list[Object] = []
    mounts: list[Object] = []
    s3 = config.get("s3") or {}
    if account is not None and IRSA in meta.annotations(account):
        _put(env, _s3_settings(meta.annotations(account), {}, s3))
    for secret in secrets:
        keys = secret.get("data") or {}
        gcs_file = (config.get("gcs") or {}).get(
            "gcsCredentialFileName"
        ) or "gcloud-application-credentials.json"
        if (
            secret_key := s3.get("s3SecretAccessKeyName") or "awsSecretAccessKey"
        ) in keys or "AWS_SECRET_ACCESS_KEY" in keys:
            _put(env, _s3_keys(secret, secret_key, s3))
            _put(env, _s3_settings(meta.annotations(secret), keys, s3))
        elif gcs_file in keys:
            if not any(one["name"] == GCS_VOLUME for one in volumes):
                volumes.append({"name": GCS_VOLUME, "secret": {"secretName": meta.name(secret)}})
                mounts.append({"name": GCS_VOLUME, "mountPath": GCS_FOLDER, "readOnly": True})
            _put(env, [_value("GOOGLE_APPLICATION_CREDENTIALS", GCS_FOLDER + gcs_file)])
        elif DOCKER_KEY in keys and not any(one["name"] == DOCKER_VOLUME for one in volumes):
            volumes.append(_docker_volume(secret))
            mounts.append({"name": DOCKER_VOLUME, "mountPath": DOCKER_FOLDER, "readOnly": True})
        elif any(key in keys for key in _AZURE_SIGNS):
            _put(env, _azure_keys(secret))
        elif "https-host" in keys and "headers" in keys:
            _put(env, [_reference(f"{_text(keys['https-host'])}-headers", secret, "headers")])
        else:
            _put(env, [_reference(key, secret, key) for key in _plain_keys(keys)])
    ca_map = env.pop("AWS_CA_BUNDLE_CONFIGMAP", None)
    if ca_map is not None:
        volumes, mounts = [*volumes, _ca_volume(ca_map["value"])], [*mounts, _ca_mount(env)]
        env.setdefault("AWS_CA_BUNDLE", _value("AWS_CA_BUNDLE", "/etc/ssl/s3-certs/cabundle.crt"))
    return Access(tuple(env.values()), tuple(volumes), tuple(mounts), _hint(account, secrets))


def resolve_spec(
    spec: StorageSpec,
    secret: Object | None,
    secret_name: str = "storage-config",  # noqa: S107  a name
) -> tuple[str, Access]:
    """Return the URI of a model's `storage` and what lets in; raise InvalidStorage.

    `secret` is the namespace's `secret_name`, None where there is none.
    """
    keys = (secret or {}).get("data") or {}
    kind, bucket = spec.parameters.get("type", ""), spec.parameters.get("bucket", "")
    key = spec.key or (f"default_{kind}" if kind else "default")
    if spec.key and secret is None:
        raise InvalidStorage(f"can't read storage secret {secret_name}: make it, with a key {spec.key}")
    if spec.key and key not in keys:
        raise InvalidStorage(f"specified storage key {key} not found in storage secret {secret_name}")
    env: list[Object] = []
    if secret is not None and key in keys:
        entry = _entry(keys[key], key, secret_name)
        kind, bucket = kind or str(entry.get("type", "")), bucket or str(entry.get("bucket", ""))
        env.append(_reference("STORAGE_CONFIG", secret, key))
    if not kind:
        raise InvalidStorage("unable to determine storage type: name it in storage.parameters.type")
    if kind not in STORAGE_TYPES[:2]:
        known = ", ".join(STORAGE_TYPES[:2])
        raise InvalidStorage(f"storage type must be one of [{known}]. storage type [{kind}] is not supported")
    if kind in BUCKET_TYPES and not bucket:
        raise InvalidStorage(
            f"format [{kind}] requires a bucket but one wasn't found in storage data or parameters"
        )
    if spec.parameters:
        env.append(_value("STORAGE_OVERRIDE_CONFIG", json.dumps(dict(spec.parameters), sort_keys=True)))
    hint = f"key {key} of secret {secret_name}" if secret is not None else f"no secret {secret_name}"
    return f"{kind}://{bucket}/{spec.path.strip('/')}", Access(tuple(env), hint=hint)


def _entry(encoded: str, key: str, secret_name: str) -> Mapping[str, Any]:
    try:
        entry = json.loads(base64.b64decode(encoded, validate=True))
    except (ValueError, binascii.Error):
        entry = None
    if not isinstance(entry, dict):
        raise InvalidStorage(f"invalid json encountered in key {key} of storage secret {secret_name}")
    return entry


def _s3_keys(secret: Object, secret_key: str, s3: Mapping[str, str]) -> list[Object]:
    keys = secret["data"]
    key_id = s3.get("s3AccessKeyIDName") or "awsAccessKeyID"
    if secret_key not in keys:
        secret_key, key_id = "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"
    found = [
        _reference("AWS_ACCESS_KEY_ID", secret, key_id),
        _reference("AWS_SECRET_ACCESS_KEY", secret, secret_key),
    ]
    return [
        *found,
        *(
            [_reference("AWS_SESSION_TOKEN", secret, "AWS_SESSION_TOKEN")]
            if "AWS_SESSION_TOKEN" in keys
            else []
        ),
    ]


def _s3_settings(
    annotations: Mapping[str, str], keys: Mapping[str, str], s3: Mapping[str, str]
) -> list[Object]:
    """Return the variables of annotations, else of the secret's keys, else of the configuration."""

    def find(variable: str, annotation: str, field: str) -> str:
        if (said := annotations.get(_S3_PREFIX + annotation)) is not None:
            return said
        return _text(keys[variable]) if variable in keys else s3.get(field) or ""

    settings: dict[str, str] = {}
    endpoint = find("S3_ENDPOINT", "s3-endpoint", "s3Endpoint").strip()
    if endpoint:
        use_https = find("S3_USE_HTTPS", "s3-usehttps", "s3UseHttps")
        scheme, separator, host = endpoint.partition("://")
        if not separator:
            scheme, host = ("http" if use_https == "0" else "https"), endpoint
        settings["S3_USE_HTTPS"] = "1" if scheme.lower() == "https" else "0"
        settings["S3_ENDPOINT"], settings["AWS_ENDPOINT_URL"] = host, f"{scheme}://{host}"
    settings |= {variable: find(variable, annotation, field) for variable, annotation, field in _S3}
    return [_value(name, value) for name, value in settings.items() if value]


def _azure_keys(secret: Object) -> list[Object]:
    keys = secret["data"]
    pairs = [(name, old if (old := name.replace("AZURE_", "AZ_", 1)) in keys else name) for name in _AZURE]
    return [_reference(name, secret, key) for name, key in pairs if key in keys]


def _plain_keys(keys: Mapping[str, str]) -> list[str]:
    family = next((names for sign, names in zip(_PLAIN, _OF_FAMILY, strict=True) if sign in keys), ())
    return [key for key in (*family, *_GIT) if key in keys]


def _docker_volume(secret: Object) -> Object:
    items = [{"key": DOCKER_KEY, "path": "config.json"}]
    return {"name": DOCKER_VOLUME, "secret": {"secretName": meta.name(secret), "items": items}}


def _ca_volume(config_map: str) -> Object:
    return {"name": "s3-cabundle", "configMap": {"name": config_map}}


def _ca_mount(env: Mapping[str, Object]) -> Object:
    file = env["AWS_CA_BUNDLE"]["value"] if "AWS_CA_BUNDLE" in env else ""
    folder = file.rpartition("/")[0] or "/etc/ssl/s3-certs"
    return {"name": "s3-cabundle", "mountPath": folder, "readOnly": True}


def _hint(account: Object | None, secrets: Sequence[Object]) -> str:
    who = f"service account {meta.name(account)}" if account is not None else "no service account"
    names = ", ".join(meta.name(one) for one in secrets)
    return f"{who}, with {f'secret {names}' if names else 'no secrets'}"


def _text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().strip()
    except (ValueError, binascii.Error):
        return ""


def _value(name: str, value: str) -> Object:
    return {"name": name, "value": value}


def _reference(name: str, secret: Object, key: str) -> Object:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": meta.name(secret), "key": key}}}


def _put(env: dict[str, Object], more: Sequence[Object]) -> None:
    """Add variables; what comes later wins, in its place."""
    for one in more:
        env[one["name"]] = one
