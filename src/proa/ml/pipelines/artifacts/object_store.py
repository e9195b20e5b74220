"""Artifacts in a bucket of an object store: S3 and what speaks it, Google Cloud Storage; by obstore, in threads.

A folder is what has its key and a slash before theirs, as in upstream's launcher (backend/src/v2/objectstore).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from proa.ml.pipelines.artifacts.archives import CHUNK_BYTES, Entry
from proa.ml.pipelines.artifacts.beneath import MAX_ENTRIES
from proa.ml.pipelines.artifacts.bucket_settings import BucketSettings
from proa.ml.pipelines.artifacts.protocol import ArtifactError, Stat
from proa.ml.pipelines.artifacts.uris import OWN, Uri
from proa.objects.quick_dataclass import dataclass

RETRY_SECONDS = 60
"""How long a request is tried again at most."""
_PARTS_AT_ONCE = 4
_PART_BYTES, _MOST_PARTS = 8 << 20, 9_000
_AWS = ("s3.amazonaws.com", "https://s3.amazonaws.com")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of a bucket. For Google Cloud Storage `secret_key` is the service account's JSON."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        """Say nothing of what they are."""
        return "Credentials(...)"


class Bucket:
    """One bucket of an object store."""

    def __init__(self, name: str, settings: BucketSettings, credentials: Credentials | None) -> None:
        """Without credentials they are the process' own, unless the settings say that none are needed."""
        self._store = _open(name, settings, credentials)

    def stat(self, uri: Uri) -> Stat | None:
        with _explained(uri):
            found = self._head(uri)
            if found is not None:
                return Stat(found["size"], _tag_of([("", found)]), is_folder=False)
            listed = [(path, meta) for path, meta in self._list(uri) if path.split("/")[0] != OWN]
            size = sum(meta["size"] for _, meta in listed)
            return Stat(size, _tag_of(listed), is_folder=True) if listed else None

    def read(self, uri: Uri, limit: int) -> bytes | None:
        import obstore

        with _explained(uri):
            found = self._head(uri)
            if found is None:
                return None
            length = min(limit, found["size"])
            return bytes(obstore.get_range(self._store, uri.key, start=0, length=length)) if length else b""

    def entries(self, uri: Uri) -> Iterator[Entry]:
        with _explained(uri):
            found = self._head(uri)
            if found is not None:
                yield self._entry("", uri, found)
                return
            for path, meta in self._list(uri):
                if path.split("/")[0] != OWN:
                    yield self._entry(path, uri, meta)

    def _entry(self, path: str, uri: Uri, meta: Any) -> Entry:
        return Entry(
            path, meta["size"], lambda: self._chunks(uri, meta["path"]), meta["last_modified"].timestamp()
        )

    def _chunks(self, uri: Uri, key: str) -> Iterator[bytes]:
        import obstore

        with _explained(uri):
            for chunk in obstore.get(self._store, key).stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    def write(self, uri: Uri, data: bytes) -> None:
        self._put(uri, data)

    def upload(self, uri: Uri, path: Path) -> None:
        """Write a file of this machine; a large one in several parts."""
        self._put(uri, path)

    def _put(self, uri: Uri, data: bytes | Path) -> None:
        import obstore

        size = data.stat().st_size if isinstance(data, Path) else len(data)
        part = max(_PART_BYTES, size // _MOST_PARTS + 1)
        with _explained(uri):
            obstore.put(self._store, uri.key, data, chunk_size=part, max_concurrency=_PARTS_AT_ONCE)

    def remove(self, uri: Uri) -> None:
        import obstore

        with _explained(uri):
            keys = [meta["path"] for _, meta in self._list(uri)]
            if self._head(uri) is not None:
                keys.append(uri.key)
            if keys:
                obstore.delete(self._store, keys)

    def _head(self, uri: Uri) -> Any:
        import obstore

        if not uri.key:
            return None
        try:
            return obstore.head(self._store, uri.key)
        except (FileNotFoundError, obstore.exceptions.NotFoundError):
            return None

    def _list(self, uri: Uri) -> list[tuple[str, Any]]:
        """Return what is below a key, sorted, by paths from there."""
        import obstore

        found = []
        for batch in obstore.list(self._store, prefix=uri.key or None):
            found += [(meta["path"][len(uri.key) :].lstrip("/"), meta) for meta in batch]
            if len(found) > MAX_ENTRIES:
                raise ArtifactError(f"more than {MAX_ENTRIES} files: archive them into one")
        return sorted(((path, meta) for path, meta in found if path), key=lambda one: one[0])


def _tag_of(listed: list[tuple[str, Any]]) -> str:
    """Return a tag of names, sizes and etags; of times where a store has no etags."""
    tag = hashlib.sha256()
    for path, meta in listed:
        tag.update(f"{path}\0{meta['size']}\0{meta['e_tag'] or meta['last_modified']}\n".encode())
    return tag.hexdigest()


def _open(name: str, settings: BucketSettings, credentials: Credentials | None) -> Any:
    try:
        from obstore.store import GCSStore, S3Store
    except ImportError:
        words = "artifacts in object stores need the package obstore: pip install 'proa[s3]'"
        raise ArtifactError(words) from None
    client: Any = {"timeout": "10m", "connect_timeout": "5s", "allow_http": settings.disable_ssl}
    retry: Any = {"max_retries": settings.max_retries, "retry_timeout": timedelta(seconds=RETRY_SECONDS)}
    try:
        if settings.scheme == "gs":
            key = {"service_account_key": credentials.secret_key} if credentials else {}
            return GCSStore(name, client_options=client, retry_config=retry, **key)  # type: ignore[arg-type]
        return S3Store(name, client_options=client, retry_config=retry, **_s3_options(settings, credentials))
    except Exception as error:  # obstore's own family, whose words say which setting is wrong
        raise ArtifactError(f"bucket {settings.scheme}://{name}: {_words(error)}") from None


def _s3_options(settings: BucketSettings, credentials: Credentials | None) -> Any:
    options: dict[str, Any] = {
        "region": settings.region or "us-east-1",
        "virtual_hosted_style_request": not settings.path_style,
    }
    if settings.endpoint and not settings.endpoint.lower().startswith(_AWS):
        has_scheme = settings.endpoint.startswith(("http://", "https://"))
        options["endpoint"] = (
            settings.endpoint
            if has_scheme
            else f"{'http' if settings.disable_ssl else 'https'}://{settings.endpoint}"
        )
    if settings.anonymous:
        options["skip_signature"] = True
    elif credentials:
        options["access_key_id"] = credentials.access_key
        options["secret_access_key"] = credentials.secret_key
    return options


@contextlib.contextmanager
def _explained(uri: Uri) -> Iterator[None]:
    """Name the artifact and say what may help; nothing of credentials is in what obstore says."""
    from obstore.exceptions import BaseError

    try:
        yield
    except ArtifactError as error:
        if str(uri) in str(error):
            raise
        raise ArtifactError(f"artifact {uri}: {error}") from None
    except (BaseError, OSError) as error:
        raise ArtifactError(f"artifact {uri}: {_words(error)}{_hint(error)}") from error


def _hint(error: Exception) -> str:
    text = str(error)
    if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError") or "403" in text:
        return "; do the Secret's keys belong to the bucket (ConfigMap kfp-launcher, credentials.secretRef)?"
    if "NoSuchBucket" in text:
        return "; make the bucket first"
    if "error sending request" in text or "onnect" in text:
        return "; does the endpoint (ConfigMap kfp-launcher) answer from here?"
    return ""


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
