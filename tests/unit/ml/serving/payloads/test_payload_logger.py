"""Payloads reach an HTTP receiver and a folder; no request waits, and what has no room is counted."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from proa.client.protocol import Request, Response
from proa.ml.serving.payloads import logger as payload_logger
from proa.ml.serving.payloads import sinks
from proa.ml.serving.payloads.event import Event, make_headers, object_key
from proa.ml.serving.payloads.flags import LogSettings, add_log_flags, read_log_settings
from proa.ml.serving.payloads.logger import PayloadLogger, SinkError
from proa.ml.serving.payloads.sinks import make_payload_logger
from support.model_backends import run_backend

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
HEADERS = [(b"Ce-Id", b"7"), (b"Content-Type", b"application/json"), (b"X-User", b"ann"), (b"X-User", b"bob")]


def make_settings(url: str, **more: Any) -> LogSettings:
    who = {"source": "pod-1", "service": "digits", "namespace": "team", "component": "predictor"}
    return LogSettings(url, **{"endpoint": "default", "metadata_headers": ("x-user",), **who, **more})


async def log_one(settings: LogSettings, headers: Sequence[tuple[bytes, bytes]] = HEADERS) -> PayloadLogger:
    """Log a request and its answer, and bring them away."""
    made = make_payload_logger(settings)
    assert made is not None
    made.start()
    logged = made.begin(headers)
    made.request(logged, b'{"instances": [1]}')
    made.response(logged, b"\x00\xff", "application/octet-stream")
    await made.close()
    return made


def test_a_receiver_gets_cloud_events_in_binary_mode() -> None:
    async def scenario() -> list[Request]:
        async def accept(_: Request) -> Response:
            return Response(202, {}, b"")

        async with run_backend(accept) as sink:
            made = await log_one(make_settings(f"{sink.url}/in?x=1", annotations=(("team", "é 100%"),)))
            assert made.counts == (2, 0, 0)
            return sink.asked

    request, response = sorted(asyncio.run(scenario()), key=lambda one: one.headers["ce-type"])
    assert (request.method, request.path, request.query) == ("POST", "/in", {"x": ["1"]})
    assert (request.body, response.body) == (b'{"instances": [1]}', b"\x00\xff")
    told = request.headers
    assert (told["ce-specversion"], told["ce-id"], told["ce-type"]) == ("1.0", "7", REQUEST)
    assert (told["ce-source"], told["ce-endpoint"], told["ce-component"]) == ("pod-1", "default", "predictor")
    assert (told["ce-inferenceservicename"], told["ce-namespace"]) == ("digits", "team")
    assert json.loads(told["ce-metadata"]) == {"X-User": ["ann", "bob"]}
    assert told["ce-annotations"] == '{"team":"%C3%A9 100%25"}'
    assert told["content-type"] == "application/json"
    assert {"ce-time", "ce-recordedtime"} <= set(told)
    assert (response.headers["ce-type"], response.headers["ce-id"]) == (RESPONSE, "7")
    assert response.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("mode", "types"), [("request", [REQUEST]), ("response", [RESPONSE]), ("all", [REQUEST, RESPONSE])]
)
def test_only_what_is_asked_for_is_logged_and_an_id_is_made(
    tmp_path: Path, mode: str, types: list[str]
) -> None:
    asyncio.run(log_one(make_settings(f"file://{tmp_path}", mode=mode), []))
    told = read_lines(tmp_path)
    assert [one["type"] for one in told] == types
    assert len({one["id"] for one in told}) == 1
    assert len(told[0]["id"]) == 36


def read_lines(folder: Path) -> list[dict[str, Any]]:
    (file,) = folder.glob("team/digits/predictor/payloads-pod-1.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_folder_gets_lines_and_full_files_are_kept_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(f"file://{tmp_path}")
    asyncio.run(log_one(settings))
    request, response = read_lines(tmp_path)
    assert (request["data"], response["data_base64"]) == (
        {"instances": [1]},
        base64.b64encode(b"\x00\xff").decode(),
    )
    assert request["inferenceservicename"] == "digits"

    monkeypatch.setattr(sinks, "FILE_BYTES", 1)
    for _ in range(sinks.FILES + 3):
        asyncio.run(log_one(settings))
    assert len([*tmp_path.rglob("*.jsonl")]) == sinks.FILES
    assert len(read_lines(tmp_path)) == 2


def test_what_finds_no_room_is_dropped_and_counted_and_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_logger, "MAX_EVENTS", 3)
    monkeypatch.setattr(payload_logger, "MAX_PAYLOAD_BYTES", 10)

    async def scenario() -> None:
        go = asyncio.Event()

        async def accept(_: Request) -> Response:
            await go.wait()
            return Response(200, {}, b"")

        async with run_backend(accept) as sink:
            made = make_payload_logger(make_settings(sink.url))
            assert made is not None
            logged = made.begin([])
            for _ in range(5):
                made.request(logged, b"0123456789")
            made.request(logged, b"01234567890")
            assert made.counts == (0, 3, 0)
            made.start()
            go.set()
            await made.close()
            assert made.counts == (3, 3, 0)
            made.request(logged, b"late")
            assert made.counts == (3, 4, 0)

    asyncio.run(scenario())


def test_a_receiver_that_refuses_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(_: Request) -> Response:
        return Response(500, {}, b"")

    async def scenario() -> None:
        async with run_backend(refuse) as sink:
            assert (await log_one(make_settings(sink.url))).counts == (0, 0, 2)

    asyncio.run(scenario())
    (record,) = [one for one in caplog.records if one.name.endswith("payloads.logger")]
    assert record.getMessage().endswith("it answers 500")


@pytest.mark.parametrize("url", ["ftp://x", "http://", "s3://", "plain"])
def test_what_is_no_sink_is_refused(url: str) -> None:
    with pytest.raises(SinkError, match="--log-url"):
        asyncio.run(log_one(make_settings(url)))


def test_nothing_is_made_where_nothing_is_asked_for() -> None:
    parser = argparse.ArgumentParser()
    add_log_flags(parser)
    assert make_payload_logger(read_log_settings(parser.parse_args([]))) is None


def test_an_id_of_a_client_leads_nowhere_else() -> None:
    event = Event(REQUEST, "../../x\r\ny", "", b"", {}, 0.0)
    settings = make_settings("s3://b", store_path="/logs/")
    assert object_key("p/", event, settings, "json") == "p/team/digits/predictor/logs/_.._x__y-request.json"
    assert ("ce-id", "../../x%0D%0Ay") in make_headers(event, settings, 0.0)
