"""CloudEvents as requests, and the answers to them: what is told in headers (binary mode) or in the body (structured).

Source: cloudevents.io's HTTP protocol binding 1.0; python/kserve/kserve/protocol/dataplane.py and utils/utils.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from proa.ml.serving.wire.refusals import bad_request

STRUCTURED = "application/cloudevents+json"
_REQUIRED = ("id", "source", "specversion", "type")
_STRUCTURED_KEYS = {"time", "type", "source", "id", "specversion", "data"}


class Event(NamedTuple):
    """A request that came as a CloudEvent: its data, decoded where it is JSON, and how the answer goes out."""

    data: Any
    is_binary: bool


def read_binary(headers: Mapping[str, str], body: bytes) -> Event | None:
    """Return the event that headers tell of, None where they tell of none; raise Refused."""
    if "ce-specversion" not in headers:
        return None
    lacking = [name for name in _REQUIRED if not headers.get(f"ce-{name}")]
    if lacking:
        raise bad_request(
            f"Cloud Event Exceptions: Failed to find {', '.join(f'ce-{name}' for name in lacking)}"
        )
    _check_version(headers["ce-specversion"])
    try:
        return Event(orjson.loads(body), is_binary=True)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"Failed to decode or parse binary json cloudevent: {error}") from None


def read_structured(document: Any, content_type: str) -> Event | None:
    """Return the event that a body is, None where it is none; raise Refused."""
    is_declared = content_type.startswith(STRUCTURED)
    if type(document) is not dict or not (is_declared or document.keys() >= _STRUCTURED_KEYS):
        if is_declared:
            raise bad_request("Cloud Event Exceptions: the body must be an object")
        return None
    lacking = [name for name in (*_REQUIRED, "data") if name not in document]
    if lacking:
        raise bad_request(f"Cloud Event Exceptions: Failed to find {', '.join(lacking)}")
    _check_version(document["specversion"])
    return Event(document["data"], is_binary=False)


def write_answer(event: Event, model: str, answer: bytes, content_type: str) -> tuple[dict[str, str], bytes]:
    """Return headers and body of the answer to an event; `answer` is JSON.

    One that was structured by its keys alone, not by its content type, is answered plainly, as upstream does.
    """
    attributes = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": f"io.kserve.inference.{model}",
        "type": "io.kserve.inference.response",
        "time": datetime.now(UTC).isoformat(),
    }
    if event.is_binary:
        headers = {f"ce-{name}": value for name, value in attributes.items()}
        return {**headers, "content-type": "application/json"}, answer
    if content_type.startswith(STRUCTURED):
        return {"content-type": STRUCTURED}, orjson.dumps({**attributes, "data": orjson.Fragment(answer)})
    return {"content-type": "application/json"}, answer


def _check_version(version: object) -> None:
    if version not in ("0.3", "1.0"):
        raise bad_request(
            f"Cloud Event Exceptions: specversion must be 1.0 or 0.3, not {str(version)[:20]!r}"
        )
