"""Read how to reach a bucket: the ConfigMap `kfp-launcher` of a namespace, with upstream's fields, and its rules.

`data.defaultPipelineRoot` is a URI; `data.providers` YAML: for `minio`, `s3` and `gs` a `default` and `overrides` by
bucketName and keyPrefix. Follows backend/src/v2/config/{env,s3,minio,gcs}.go and backend/src/v2/objectstore/config.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import parse_qsl

from proa.ml.pipelines.artifacts import uris
from proa.ml.pipelines.artifacts.protocol import DEFAULT_ROOT, ArtifactError
from proa.ml.pipelines.artifacts.uris import Uri
from proa.objects.quick_dataclass import dataclass

CONFIG_MAP = "kfp-launcher"
DEFAULT_SECRET = "mlpipeline-minio-artifact"  # noqa: S105
DEFAULT_ENDPOINT = "seaweedfs.kubeflow:9000"
MAX_CONFIG_BYTES = 256 * 1024

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """Which Secret of the namespace has the credentials. For gs `secret_key` is that of the service account's JSON."""

    name: str
    access_key: str
    secret_key: str


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """How to reach a bucket. Without `secret` credentials are the process' own, from its environment."""

    scheme: str
    endpoint: str = ""
    region: str = ""
    disable_ssl: bool = False
    path_style: bool = True
    max_retries: int = 5
    anonymous: bool = False
    secret: SecretKeys | None = None


@dataclass(frozen=True, slots=True)
class LauncherConfig:
    """What a namespace's ConfigMap says; `providers` by scheme."""

    root: str = DEFAULT_ROOT
    providers: Mapping[str, Json] | None = None

    def is_folder(self, uri: Uri) -> bool:
        """Tell whether a place is the folder of this machine: minio:// where nothing says how to reach one."""
        return uri.scheme == "minio" and not (self.providers or {}).get("minio") and not self._query_of(uri)

    def settings(self, uri: Uri) -> BucketSettings:
        """Return how to reach the bucket that `uri` is in; raise ArtifactError where that is not said right."""
        query = uri.query or self._query_of(uri)
        provider = (self.providers or {}).get(uri.scheme)
        if query:
            return _from_query(uri.scheme, query)
        if not provider:
            return _unconfigured(uri.scheme)
        override = _find_override(provider, uri)
        default = _mapping(provider.get("default"), f"{uri.scheme}.default")
        if default.get("credentials") is None:
            raise _invalid("missing default credentials")
        if override is not None and override.get("credentials") is None:
            raise _invalid("missing override credentials")
        merged = {
            **default,
            **{key: value for key, value in (override or {}).items() if value not in (None, "")},
        }
        return _from_fields(uri.scheme, merged)

    def _query_of(self, uri: Uri) -> str:
        root = uris.parse(self.root)
        return root.query if uri.is_within(Uri(root.scheme, root.bucket, root.key)) else ""


def to_json(settings: BucketSettings) -> Json:
    """Return what a pod's program is told; of credentials only that some are in its environment."""
    return {
        "scheme": settings.scheme,
        "endpoint": settings.endpoint,
        "region": settings.region,
        "disableSSL": settings.disable_ssl,
        "forcePathStyle": settings.path_style,
        "maxRetries": settings.max_retries,
        "anonymous": settings.anonymous,
        "hasCredentials": settings.secret is not None,
    }


def from_json(told: Json) -> BucketSettings:
    """Return the settings that `to_json` told of, without the Secret."""
    return BucketSettings(
        told["scheme"],
        endpoint=told["endpoint"],
        region=told["region"],
        disable_ssl=told["disableSSL"],
        path_style=told["forcePathStyle"],
        max_retries=told["maxRetries"],
        anonymous=told["anonymous"],
    )


def credentials_variable(number: int, what: str) -> str:
    """Return the environment variable that has ACCESS_KEY or SECRET_KEY of the settings of that number."""
    return f"PROA_BUCKET_{number}_{what}"


def read(config_map: Mapping[str, Any] | None) -> LauncherConfig:
    """Read a namespace's ConfigMap, None where it has none; raise ArtifactError for one that is not well formed."""
    data = (config_map or {}).get("data") or {}
    root = data.get("defaultPipelineRoot") or DEFAULT_ROOT
    try:
        uris.parse(root)
    except ArtifactError as error:
        raise ArtifactError(f"ConfigMap {CONFIG_MAP}: data.defaultPipelineRoot: {error}") from None
    return LauncherConfig(root, _read_providers(data.get("providers") or ""))


def _read_providers(text: str) -> Mapping[str, Json]:
    if not text:
        return {}
    import yaml  # dear, and rarely needed

    if len(text) > MAX_CONFIG_BYTES:
        raise _invalid(f"more than {MAX_CONFIG_BYTES} bytes")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        message = "failed to unmarshall kfp bucket providers, ensure that providers config is well formed"
        raise ArtifactError(f"ConfigMap {CONFIG_MAP}: data.providers: {message}: {words}") from None
    return {scheme: _mapping(fields, scheme) for scheme, fields in _mapping(found, "providers").items()}


def _mapping(value: object, where: str) -> Json:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(f"{where} is not a mapping")
    return {str(key): inner for key, inner in value.items()}


def _find_override(provider: Json, uri: Uri) -> Json | None:
    """Return the first override of the bucket whose keyPrefix the key has; encoding/json takes any case of the name."""
    listed = next((value for key, value in provider.items() if key.lower() == "overrides"), None) or []
    for number, value in enumerate(listed if isinstance(listed, list) else [listed]):
        override = _mapping(value, f"{uri.scheme}.overrides[{number}]")
        prefix = str(override.get("keyPrefix") or "")
        if override.get("bucketName") == uri.bucket and f"{uri.key}/".startswith(prefix):
            return override
    return None


def _from_fields(scheme: str, fields: Json) -> BucketSettings:
    credentials = _mapping(fields["credentials"], f"{scheme}.credentials")
    return BucketSettings(
        scheme,
        endpoint=str(fields.get("endpoint") or ""),
        region=str(fields.get("region") or ""),
        disable_ssl=_flag(fields, "disableSSL", default=False),
        path_style=_flag(fields, "forcePathStyle", default=True),
        max_retries=_retries(fields.get("maxRetries")),
        secret=None if _flag(credentials, "fromEnv", default=False) else _secret(scheme, credentials),
    )


def _secret(scheme: str, credentials: Json) -> SecretKeys:
    reference = _mapping(credentials.get("secretRef"), f"{scheme}.credentials.secretRef")
    names: tuple[Literal["accessKeyKey", "tokenKey", "secretKeyKey"], ...]
    names = ("tokenKey",) if scheme == "gs" else ("accessKeyKey", "secretKeyKey")
    missing = [name for name in ("secretName", *names) if not reference.get(name)]
    if missing:
        raise _invalid(
            f"{scheme}: credentials.secretRef needs {', '.join(missing)}, or credentials.fromEnv true"
        )
    access_key = "" if scheme == "gs" else str(reference["accessKeyKey"])
    return SecretKeys(str(reference["secretName"]), access_key, str(reference[names[-1]]))


def _from_query(scheme: str, query: str) -> BucketSettings:
    """Read the parameters of a root, those of gocloud.dev/blob/s3blob; credentials are the environment's."""
    given = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=32))
    path_style = given.get("use_path_style", given.get("s3ForcePathStyle", "true"))
    return BucketSettings(
        scheme,
        endpoint=given.get("endpoint", ""),
        region=given.get("region", ""),
        disable_ssl=_is_true(given.get("disable_https", given.get("disableSSL", "false"))),
        path_style=_is_true(path_style),
        anonymous=_is_true(given.get("anonymous", "false")),
    )


def _unconfigured(scheme: str) -> BucketSettings:
    """Where no provider is configured: upstream's own store for minio, the environment's for others."""
    if scheme != "minio":
        return BucketSettings(scheme)
    secret = SecretKeys(DEFAULT_SECRET, "accesskey", "secretkey")
    return BucketSettings(scheme, DEFAULT_ENDPOINT, "minio", disable_ssl=True, secret=secret)


def _flag(fields: Json, name: str, *, default: bool) -> bool:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _invalid(f"{name}: {value!r} is not true or false")
    return value


def _retries(value: object) -> int:
    if value is None:
        return 5
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100:
        raise _invalid(f"maxRetries: {value!r} is no number from 0 to 100")
    return value


def _is_true(text: str) -> bool:
    return text.lower() in ("1", "t", "true")


def _invalid(why: str) -> ArtifactError:
    return ArtifactError(f"ConfigMap {CONFIG_MAP}: data.providers: invalid provider config: {why}")
