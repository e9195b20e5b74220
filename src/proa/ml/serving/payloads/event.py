"""One payload on its way to a sink, and how it is said: as a CloudEvent, and as a record of upstream's store.

Source: CloudEvents 1.0, HTTP binding (binary mode) and JSON format; KServe's pkg/logger/worker.go, types.go and
marshaller_record.go.
"""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from proa.ml.serving.payloads.flags import LogSettings

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
_UNSAFE = re.compile(r"[^ -~]|%")
_COLUMNS = ("url", "bytes", "contentType", "reqType", "id", "sourceUri", "inferenceService", "namespace", "component",
            "endpoint", "metadata", "annotations", "certName", "tlsSkipVerify")  # fmt: skip


class Event(NamedTuple):
    """A request's or an answer's body. `metadata` are the headers that the logger passes on; `time` of the epoch."""

    type: str
    id: str
    content_type: str
    body: bytes
    metadata: dict[str, list[str]]
    time: float


def make_headers(event: Event, settings: LogSettings, now: float) -> list[tuple[str, str]]:
    """Return the headers of a CloudEvent in binary mode."""
    headers = [("Content-Type", event.content_type)] if event.content_type else []
    for name, value in _attributes(event, settings, now).items():
        headers.append((f"ce-{name}", _UNSAFE.sub(_percent, value)))
    return headers


def make_structured(event: Event, settings: LogSettings, now: float) -> dict[str, Any]:
    """Return a CloudEvent in the JSON format; data that is JSON is there as such."""
    made: dict[str, Any] = _attributes(event, settings, now)
    if event.content_type:
        made["datacontenttype"] = event.content_type
    try:
        made["data"] = orjson.loads(event.body)
    except orjson.JSONDecodeError:
        made["data_base64"] = base64.b64encode(event.body).decode()
    return made


def _attributes(event: Event, settings: LogSettings, now: float) -> dict[str, str]:
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "source": settings.source,
        "type": event.type,
        "time": format_time(event.time),
        "recordedtime": format_time(now),
        "inferenceservicename": settings.service,
        "namespace": settings.namespace,
        "component": settings.component,
        "endpoint": settings.endpoint,
        "metadata": _json(event.metadata),
    }
    if settings.annotations:
        attributes["annotations"] = _json(dict(settings.annotations))
    return attributes


def make_json_file(events: Sequence[Event], settings: LogSettings) -> bytes:
    """Return a batch as upstream's store has it: one record, or a list of several."""
    records = [_record(event, settings) for event in events]
    return orjson.dumps(records[0] if len(records) == 1 else records)


def make_csv_file(events: Sequence[Event], settings: LogSettings) -> bytes:
    """Return a batch as a table: a line of names, and one a record."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for event in events:
        row = {
            **_record(event, settings),
            "url": settings.url,
            "sourceUri": settings.source,
            "metadata": _json(event.metadata),
            "annotations": _json(dict(settings.annotations)) if settings.annotations else "",
            "tlsSkipVerify": "true" if settings.skip_tls_verification else "false",
        }
        writer.writerow([row.get(column, "") for column in _COLUMNS])
    return text.getvalue().encode()


def object_key(prefix: str, event: Event, settings: LogSettings, extension: str) -> str:
    """Return where a batch is kept, by its first event."""
    parts = (prefix, settings.namespace, settings.service, settings.component, settings.store_path)
    folder = "/".join(stripped for part in parts if (stripped := part.strip("/")))
    kind = event.type.rpartition(".")[2]
    return f"{folder}/{_safe(event.id)}-{kind}.{extension}"


def format_time(seconds: float) -> str:
    """Return a time of the epoch as RFC 3339 has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _record(event: Event, settings: LogSettings) -> dict[str, Any]:
    """Return what Go's encoding/json makes of upstream's LogRequest; what is empty is left out."""
    record = {
        "url": _go_url(settings.url),
        "bytes": base64.b64encode(event.body).decode(),
        "contentType": event.content_type,
        "reqType": event.type,
        "id": event.id,
        "sourceUri": _go_url(settings.source),
        "inferenceService": settings.service,
        "namespace": settings.namespace,
        "component": settings.component,
        "endpoint": settings.endpoint,
        "metadata": event.metadata,
        "annotations": dict(settings.annotations),
        "certName": settings.ca_file,
        "tlsSkipVerify": settings.skip_tls_verification,
        "occurrenceTime": format_time(event.time),
    }
    return {name: value for name, value in record.items() if value}


def _go_url(url: str) -> dict[str, Any]:
    """Return Go's net/url.URL as its JSON."""
    parts = urlsplit(url)
    return {
        "Scheme": parts.scheme,
        "Opaque": "",
        "User": None,
        "Host": parts.netloc.rpartition("@")[2],
        "Path": parts.path,
        "RawPath": "",
        "OmitHost": False,
        "ForceQuery": False,
        "RawQuery": parts.query,
        "Fragment": parts.fragment,
        "RawFragment": "",
    }


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def _safe(name: str) -> str:
    """Return a client's id as part of a file's name: it leads nowhere else."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:200].lstrip(".") or "_"
