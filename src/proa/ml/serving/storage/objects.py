"""s3://, gs:// and Azure's blobs: an object, or all that is below a folder, by obstore (the extra `s3`).

Settings and credentials are the environment's, as KServe's secrets make it. A folder is what has its key and a slash
before theirs: upstream takes whatever begins alike, iris2 for iris.

Source: KServe's python/storage (_download_s3, _download_gcs, _download_azure_blob, _update_with_storage_spec).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from proa.ml.serving.storage.archives import kind_of
from proa.ml.serving.storage.pieces import Interrupted, Model, Opened, Piece, StorageError, Surroundings
from proa.ml.serving.storage.web import ca_bundles

MAX_OBJECTS = 100_000
RETRY_SECONDS = 15
CHUNK_BYTES = 4 << 20
_AWS = ("https://s3.amazonaws.com", "http://s3.amazonaws.com")
_AZURE = re.compile(
    r"https://([^/]+?)\.(?:blob\.core\.windows\.net|z\d{1,2}\.blob\.storage\.azure\.net)/([^/]+)/?(.*)"
)
_FROM_SPEC = (
    ("AWS_ENDPOINT_URL", "endpoint_url"), ("AWS_ACCESS_KEY_ID", "access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "secret_access_key"), ("AWS_DEFAULT_REGION", "region"), ("AWS_CA_BUNDLE", "ca_bundle"),
    ("S3_VERIFY_SSL", "verify_ssl"), ("awsAnonymousCredential", "anonymous"),
)  # fmt: skip
_WRONG = ("PermissionDeniedError", "UnauthenticatedError")


def is_azure(uri: str) -> bool:
    """Return whether an https URL is that of a blob."""
    return _AZURE.fullmatch(uri) is not None


def find(uri: str, around: Surroundings) -> Model:
    """Return an object, or what is below a folder."""
    env = _with_spec(around.env)
    scheme, bucket, key = _parse(uri)
    try:
        import obstore
    except ImportError:
        raise StorageError(
            f"{scheme}:// needs the package obstore in the image: pip install 'proa[s3]'"
        ) from None
    place = f"{scheme}\n{env.get('AWS_ENDPOINT_URL', '') if scheme == 's3' else ''}\n{bucket}"
    try:
        store = _open(scheme, bucket, env)
        if key and (found := _head(obstore, store, key)) is not None:
            name = key.rpartition("/")[2]
            return Model([_piece(store, found, name, uri, place)._replace(unpack=kind_of(name))], uri)
        listed = _list(obstore, store, key)
    except StorageError:
        raise
    except Exception as error:  # obstore's own family
        raise _explained(uri, error, env) from None
    pieces = [_piece(store, one, one["path"][len(key) :].lstrip("/"), uri, place) for one in listed]
    if not pieces:
        raise StorageError(
            f"Failed to fetch model. No model found in {uri}: neither an object nor anything below it"
        )
    if len(pieces) == 1:
        pieces = [pieces[0]._replace(unpack=kind_of(pieces[0].path))]
    return Model(pieces, uri)


def _parse(uri: str) -> tuple[str, str, str]:
    if found := _AZURE.fullmatch(uri):
        return "azure", f"{found[1]}/{found[2]}", found[3].strip("/")
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme in ("abfs", "abfss") and "@" in bucket:
        container, _, host = bucket.partition("@")
        return "azure", f"{host.partition('.')[0]}/{container}", key.strip("/")
    if not bucket:
        raise StorageError(f"{uri} names no bucket")
    return ("azure" if scheme in ("az", "abfs", "abfss") else scheme), bucket, key.strip("/")


def _with_spec(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with what a key of the secret storage-config says."""
    try:
        said = json.loads(env.get("STORAGE_CONFIG") or "{}") | json.loads(
            env.get("STORAGE_OVERRIDE_CONFIG") or "{}"
        )
    except (ValueError, TypeError):
        raise StorageError("the key of the secret storage-config is no JSON object") from None
    if said.get("type") != "s3":
        return dict(env)
    return dict(env) | {name: str(said[key]) for name, key in _FROM_SPEC if key in said}


def _open(scheme: str, bucket: str, env: Mapping[str, str]) -> Any:
    from obstore.store import AzureStore, GCSStore, S3Store

    client: Any = {"timeout": "6h", "read_timeout": "60s", "connect_timeout": "10s", "allow_http": True}
    if bundles := ca_bundles(env):
        client["root_certificate"] = _certificates(bundles)
    retry: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
    if scheme == "gs":
        return GCSStore(bucket, client_options=client, retry_config=retry, **_google_options(env))
    if scheme == "azure":
        account, _, container = bucket.rpartition("/")
        options: dict[str, Any] = {"account_name": account or env.get("AZURE_ACCOUNT_NAME", "")}
        if key := env.get("AZURE_STORAGE_ACCESS_KEY"):
            options["account_key"] = key
        elif not env.get("AZURE_CLIENT_ID") and not env.get("AZURE_ACCESS_TOKEN"):
            options["skip_signature"] = True
        return AzureStore(container, client_options=client, retry_config=retry, **options)
    client["allow_invalid_certificates"] = env.get("S3_VERIFY_SSL", "1").lower() in ("0", "false")
    return S3Store(bucket, client_options=client, retry_config=retry, **_s3_options(env))


def _google_options(env: Mapping[str, str]) -> dict[str, Any]:
    path = env.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    if not path:
        return {"skip_signature": True}
    try:
        kind = json.loads(Path(path).read_bytes()).get("type", "")
    except (OSError, ValueError, AttributeError) as error:
        raise StorageError(f"Google's credentials in {path} cannot be read: {error}") from None
    return {
        "application_credentials"
        if kind in ("authorized_user", "external_account")
        else "service_account": path
    }


def _certificates(bundles: list[str]) -> bytes:
    try:
        return b"\n".join(Path(bundle).read_bytes() for bundle in bundles)
    except OSError as error:
        raise StorageError(f"Failed to find ca bundle file({error.filename}).") from None


def _s3_options(env: Mapping[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "region": env.get("AWS_DEFAULT_REGION") or env.get("AWS_REGION") or "us-east-1",
        "virtual_hosted_style_request": env.get("S3_USER_VIRTUAL_BUCKET", "").lower() == "true",
    }
    endpoint = env.get("AWS_ENDPOINT_URL", "").rstrip("/")
    if endpoint and not endpoint.lower().startswith(_AWS):
        options["endpoint"] = endpoint if "://" in endpoint else f"https://{endpoint}"
    if env.get("awsAnonymousCredential", "").lower() in ("true", "1"):
        options["skip_signature"] = True
    elif env.get("AWS_ACCESS_KEY_ID"):
        options["access_key_id"] = env["AWS_ACCESS_KEY_ID"]
        options["secret_access_key"] = env.get("AWS_SECRET_ACCESS_KEY", "")
        if env.get("AWS_SESSION_TOKEN"):
            options["session_token"] = env["AWS_SESSION_TOKEN"]
    elif not any(
        env.get(name) for name in ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    ):
        options["skip_signature"] = (
            True  # there is nobody to sign as; asking a cloud's metadata takes long elsewhere
        )
    return options


def _head(obstore: Any, store: Any, key: str) -> Any:
    try:
        return obstore.head(store, key)
    except (FileNotFoundError, obstore.exceptions.NotFoundError):
        return None


def _list(obstore: Any, store: Any, key: str) -> list[Any]:
    found: list[Any] = []
    for batch in obstore.list(store, prefix=key or None):
        found += [one for one in batch if not one["path"].endswith("/")]
        if len(found) > MAX_OBJECTS:
            raise StorageError(f"more than {MAX_OBJECTS} objects: archive them into one")
    return sorted((one for one in found if one["path"] != key), key=lambda one: str(one["path"]))


def _piece(store: Any, about: Any, path: str, uri: str, place: str) -> Piece:
    if ".." in path.split("/"):
        raise StorageError(f"{uri} has an object {about['path']!r}, which leads out of the model's folder")
    tag = about["e_tag"] or about.get("version") or ""
    identity = f"{place}\n{about['path']}\n{tag}\n{about['size']}" if tag else ""

    def open_at(offset: int) -> Opened:
        return Opened(offset, _chunks(store, about["path"], tag, offset, uri))

    return Piece(path, about["size"], identity, open_at)


def _chunks(store: Any, key: str, tag: str, offset: int, uri: str) -> Iterator[bytes]:
    import obstore

    options: Any = {"range": {"offset": offset}} if offset else {}
    if tag:
        options["if_match"] = tag
    try:
        for chunk in obstore.get(store, key, options=options).stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(chunk)
    except GeneratorExit:
        raise
    except Exception as error:  # obstore's own family
        if type(error).__name__ in (*_WRONG, "NotFoundError", "PreconditionError", "FileNotFoundError"):
            raise StorageError(f"{uri}, {key}: {_words(error)}") from None
        raise Interrupted(f"{uri}, {key}: {_words(error)}") from None


def _explained(uri: str, error: Exception, env: Mapping[str, str]) -> Exception:
    """Say what went wrong and what may help; nothing of credentials is in what obstore says."""
    text, words = str(error), _words(error)
    if type(error).__name__ in _WRONG or " 403" in text or " 401" in text:
        signed = bool(env.get("AWS_ACCESS_KEY_ID") or env.get("GOOGLE_APPLICATION_CREDENTIALS"))
        help_ = "do the secret's keys belong to the bucket?" if signed else "it was asked without credentials"
        return StorageError(f"Access denied to {uri} ({words}): {help_}")
    if "NoSuchBucket" in text:
        return StorageError(f"{uri}: there is no such bucket ({words})")
    if "error sending request" in text or "onnect" in text:
        bundles = ca_bundles(env)
        if "ertificate" in text and bundles:
            return StorageError(f"{uri}: {words}; certificates of {', '.join(bundles)} were trusted")
        return Interrupted(f"{uri}: {words}; does the endpoint answer from here?")
    return StorageError(f"{uri}: {words}")


def _words(error: Exception) -> str:
    """Return what went wrong, without the request and the debugging that obstore tells of as well."""
    text = str(error).strip()
    server = re.search(r"Error performing \w+ (https?://[^/\s]{1,255})", text)
    status = re.search(r"status code: (\d{3}(?: [A-Z][A-Za-z]*)*)", text)
    code = re.search(r"<Code>(\w{1,60})</Code>", text)
    if server and status:
        return f"{server[1]} answered {status[1]}{f' ({code[1]})' if code else ''}"
    if server and "error sending request" in text:
        return f"{server[1]} does not answer"
    return text.split("\n")[0][:500]
