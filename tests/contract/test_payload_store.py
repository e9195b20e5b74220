"""Payloads reach a real S3 store, under the names and in the formats of upstream's logger."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from proa.ml.serving.payloads.flags import LogSettings
from proa.ml.serving.payloads.sinks import make_payload_logger
from support.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS, open_bucket, run_seaweedfs

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
HEADERS = [(b"ce-id", b"7"), (b"content-type", b"application/json"), (b"x-user", b"ann")]


async def log_one(url: str, **more: Any) -> tuple[int, int, int]:
    """Log a request and its answer, bring them away, and return the counts."""
    who = {"source": "pod-1", "service": "digits", "namespace": "team", "component": "predictor"}
    made = make_payload_logger(LogSettings(url, metadata_headers=("X-User",), **who, **more))
    assert made is not None
    made.start()
    logged = made.begin(HEADERS)
    made.request(logged, b'{"instances": [1]}')
    made.response(logged, b"{}")
    await made.close()
    return made.counts


@pytest.fixture(scope="module")
def store() -> Iterator[SeaweedFS]:
    with run_seaweedfs() as running:
        running.make_bucket("payloads")
        yield running


def test_a_bucket_gets_a_file_a_batch_as_upstream_writes_it(
    store: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL": store.endpoint,
        "S3_USE_HTTPS": "0",
    }.items():
        monkeypatch.setenv(name, value)

    async def scenario() -> None:
        assert await log_one("s3://payloads/log") == (2, 0, 0)
        assert await log_one("s3://payloads/csv", store_format="csv", batch_size=10) == (2, 0, 0)

    asyncio.run(scenario())
    bucket = open_bucket(store.endpoint, "payloads")
    one = json.loads(bytes(bucket.get("log/team/digits/predictor/7-request.json").bytes()))
    assert (one["reqType"], one["id"], one["contentType"]) == (REQUEST, "7", "application/json")
    assert base64.b64decode(one["bytes"]) == b'{"instances": [1]}'
    assert (one["url"]["Scheme"], one["url"]["Host"], one["url"]["Path"]) == ("s3", "payloads", "/log")
    assert (
        json.loads(bytes(bucket.get("log/team/digits/predictor/7-response.json").bytes()))["reqType"]
        == RESPONSE
    )
    table = bytes(bucket.get("csv/team/digits/predictor/7-request.csv").bytes()).decode()
    rows = [*csv.DictReader(io.StringIO(table))]
    assert [row["reqType"] for row in rows] == [REQUEST, RESPONSE]
    assert rows[0]["metadata"] == '{"X-User":["ann"]}'
