"""Where payloads go: an HTTP receiver of CloudEvents, a folder, or a bucket, by the scheme of the logger's URL.

Source: KServe's pkg/logger/worker.go and store.go; the folder is Proa's own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from proa.ml.serving.payloads.event import (
    Event,
    make_csv_file,
    make_headers,
    make_json_file,
    make_structured,
    object_key,
)
from proa.ml.serving.payloads.flags import LogSettings
from proa.ml.serving.payloads.logger import PayloadLogger, Sink, SinkError

HTTP_WORKERS = 5
SEND_SECONDS = 30.0
FILE_BYTES, FILES = 64 * 1024 * 1024, 8
"""A file is begun anew after so many bytes; so many are kept."""
CERTIFICATES_FOLDER = "/etc/tls/logger"
_STORES = {"s3": "s3", "s3a": "s3", "gs": "gs", "abfs": "abfs", "abfss": "abfss"}


def make_payload_logger(settings: LogSettings) -> PayloadLogger | None:
    """Return what logs as the flags say, None where they ask for nothing; raise SinkError for what is no sink."""
    return PayloadLogger(settings, _make_sink(settings)) if settings.url else None


def _make_sink(settings: LogSettings) -> Sink:
    scheme = urlsplit(settings.url).scheme
    if scheme in {"http", "https"}:
        return HttpSink(settings)
    if scheme == "file":
        return FolderSink(settings)
    if scheme in _STORES:
        return BucketSink(settings)
    raise SinkError(
        f"--log-url {settings.url}: must begin with http://, https://, file://, s3://, gs:// or abfs://"
    )


class HttpSink:
    """POSTs each payload as a CloudEvent in binary mode."""

    workers, batch_size, batch_seconds = HTTP_WORKERS, 1, 0.0

    def __init__(self, settings: LogSettings) -> None:
        from proa.ml.serving.wire.http1_pool import Pool

        self._settings = settings
        parts = urlsplit(settings.url)
        if not parts.hostname:
            raise SinkError(f"--log-url {settings.url}: must name a host")
        context = _make_tls_context(settings) if parts.scheme == "https" else None
        self._pool = Pool(parts.hostname, parts.port or (443 if context else 80), context)
        self._host = parts.netloc.rpartition("@")[2]
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    async def write(self, events: Sequence[Event]) -> None:
        from proa.ml.serving.wire.http1_asking import AskError, ask

        for event in events:
            headers = make_headers(event, self._settings, time.time())
            try:
                answer = await ask(
                    self._pool,
                    "POST",
                    self._target,
                    headers,
                    event.body,
                    host=self._host,
                    seconds=SEND_SECONDS,
                    max_bytes=1024 * 1024,
                )
            except AskError as error:
                raise SinkError(f"{self._settings.url}: {error}") from None
            if not 200 <= answer.status < 300:
                raise SinkError(f"{self._settings.url}: it answers {answer.status}")

    async def close(self) -> None:
        self._pool.close()


def _make_tls_context(settings: LogSettings) -> Any:
    import ssl

    context = ssl.create_default_context()
    file = Path(CERTIFICATES_FOLDER, settings.ca_file or "service-ca.crt")
    if file.is_file():
        context.load_verify_locations(file)
    elif settings.ca_file:
        raise SinkError(f"--logger-ca-cert-file {settings.ca_file}: there is no {file}")
    if settings.skip_tls_verification:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class FolderSink:
    """Appends payloads to a file, a CloudEvent in JSON a line; a file that is full is kept under the time it was."""

    workers, batch_size = 1, 200
    batch_seconds = 0.2

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        parts = (settings.namespace, settings.service, settings.component, settings.store_path)
        folder = Path(unquote(urlsplit(settings.url).path) or "/")
        for part in parts:
            folder /= part.strip("/")
        self._folder = folder
        self._file = folder / f"payloads-{_file_name(settings.source)}.jsonl"

    async def write(self, events: Sequence[Event]) -> None:
        now = time.time()
        lines = [orjson.dumps(make_structured(event, self._settings, now)) + b"\n" for event in events]
        await asyncio.to_thread(self._append, b"".join(lines), now)

    def _append(self, data: bytes, now: float) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._file.exists() and self._file.stat().st_size + len(data) > FILE_BYTES:
            self._file.rename(self._file.with_suffix(f".{now:.6f}.jsonl"))
            for old in sorted(self._folder.glob(f"{self._file.stem}.*.jsonl"))[: 1 - FILES]:
                old.unlink(missing_ok=True)
        with self._file.open("ab") as file:
            file.write(data)

    async def close(self) -> None: ...


def _file_name(source: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in source) or "server"


class BucketSink:
    """Writes batches to a bucket, a file each, where upstream's store has them."""

    workers = 2

    def __init__(self, settings: LogSettings) -> None:
        try:
            import obstore  # noqa: F401
        except ImportError:
            raise SinkError(f"--log-url {settings.url}: needs obstore; pip install 'proa[s3]'") from None
        self._settings = settings
        self.batch_size = settings.batch_size
        self.batch_seconds = settings.batch_seconds
        parts = urlsplit(settings.url)
        if not parts.netloc:
            raise SinkError(f"--log-url {settings.url}: must name a bucket")
        self._prefix = parts.path.strip("/")
        self._store = _open_store(f"{_STORES[parts.scheme]}://{parts.netloc}", os.environ)
        is_csv = settings.store_format == "csv"
        self._extension = "csv" if is_csv else "json"
        self._encode = make_csv_file if is_csv else make_json_file

    async def write(self, events: Sequence[Event]) -> None:
        import obstore
        from obstore.exceptions import BaseError

        key = object_key(self._prefix, events[0], self._settings, self._extension)
        data = self._encode(events, self._settings)
        try:
            await asyncio.to_thread(partial(obstore.put, self._store, key, data))
        except BaseError as error:
            raise SinkError(f"{self._settings.url}: {str(error).splitlines()[0]}") from None

    async def close(self) -> None: ...


def _open_store(url: str, environment: Mapping[str, str]) -> Any:
    """Open a bucket by the variables that KServe's credentials become; obstore reads those of AWS itself."""
    from datetime import timedelta

    from obstore.store import from_url

    options: dict[str, Any] = {}
    client: dict[str, Any] = {}
    endpoint = environment.get("AWS_ENDPOINT_URL") or environment.get("S3_ENDPOINT") or ""
    if url.startswith("s3:"):
        use_https = environment.get("S3_USE_HTTPS", "1").lower() not in {"0", "false"}
        if endpoint and "://" not in endpoint:
            endpoint = f"{'https' if use_https else 'http'}://{endpoint}"
        if endpoint:
            options["endpoint"] = endpoint
        options["region"] = (
            environment.get("AWS_DEFAULT_REGION") or environment.get("AWS_REGION") or "us-east-1"
        )
        if environment.get("S3_USER_VIRTUAL_BUCKET", "").lower() in {"1", "true"}:
            options["virtual_hosted_style_request"] = True
        if environment.get("S3_VERIFY_SSL", "1").lower() in {"0", "false"}:
            client["allow_invalid_certificates"] = True
        client["allow_http"] = endpoint.startswith("http://")
    retry = {"max_retries": 3, "retry_timeout": timedelta(seconds=SEND_SECONDS)}
    settings: dict[str, Any] = {"config": options, "client_options": client, "retry_config": retry}
    return from_url(url, **{name: value for name, value in settings.items() if value})
