"""The programs of fetch and deliver, against a store in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proa.ml.pipelines.artifacts import transfer, uris
from proa.ml.pipelines.artifacts.bucket_settings import BucketSettings
from proa.ml.pipelines.artifacts.object_store import Bucket, Credentials
from proa.ml.pipelines.artifacts.protocol import ArtifactError

ROOT = uris.parse("s3://bucket/run/task/salt")


@pytest.fixture
def bucket() -> Bucket:
    from obstore.store import MemoryStore

    made = Bucket("bucket", BucketSettings("s3", "store.invalid"), Credentials("a", "b"))
    made._store = MemoryStore()
    return made


def test_what_is_delivered_is_fetched_elsewhere(bucket: Bucket, tmp_path: Path) -> None:
    own, kfp = tmp_path / "own", tmp_path / "kfp"
    (own / "data" / "deep").mkdir(parents=True)
    (own / "data" / "deep" / "a").write_bytes(b"1" * 3_000_000)
    (own / "data" / "same").symlink_to("deep/a")
    (own / "model").write_bytes(b"2")
    (own / ".proa").mkdir()
    (own / ".proa" / "delivered").write_text("a step that says so itself")
    (kfp / "outputs").mkdir(parents=True)
    (kfp / "outputs" / "x").write_text("3")

    transfer.deliver(bucket, ROOT, own, kfp)
    transfer.fetch_one(bucket, ROOT.below("data"), tmp_path / "in" / "data")
    transfer.fetch_one(bucket, ROOT.below("model"), tmp_path / "in" / "model")
    transfer.fetch_one(bucket, ROOT.below("nothing"), tmp_path / "in" / "nothing")

    assert (tmp_path / "in" / "data" / "deep" / "a").read_bytes() == b"1" * 3_000_000
    assert (tmp_path / "in" / "data" / "same").read_bytes() == b"1" * 3_000_000
    assert (tmp_path / "in" / "model").read_bytes() == b"2"
    assert not (tmp_path / "in" / "nothing").exists()
    assert bucket.read(ROOT.below(*uris.KFP, "outputs", "x"), 9) == b"3"
    assert bucket.read(ROOT.below(*uris.DELIVERED), 99) == b'{"files": 4, "bytes": 6000002}'


def test_a_link_to_the_credentials_is_not_followed(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model").symlink_to("/proc/self/environ")

    with pytest.raises(ArtifactError, match="copy the file instead"):
        transfer.deliver(bucket, ROOT, tmp_path / "own", tmp_path / "kfp")

    assert bucket.stat(ROOT) is None
    assert bucket.read(ROOT.below(*uris.DELIVERED), 1) is None


def test_a_delivery_is_tried_again_and_then_told(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", waits.append)

    transfer._try_again(failing(2))
    assert waits == [1, 2]
    with pytest.raises(ArtifactError, match=f"failure {transfer.ATTEMPTS - 1}"):
        transfer._try_again(failing(99))


def failing(times: int) -> Callable[[], None]:
    calls = iter(range(99))

    def call() -> None:
        number = next(calls)
        if number < times:
            raise ArtifactError(f"failure {number}")

    return call


def test_a_failure_is_the_containers_last_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "TERMINATION_LOG", tmp_path / "log")
    told = (
        '[{"scheme": "s3", "endpoint": "127.0.0.1:1", "region": "", "disableSSL": true, "forcePathStyle": true,'
        ' "maxRetries": 0, "anonymous": true, "hasCredentials": false}]'
    )

    assert transfer.main(["fetch", told, "0=s3://bucket/key"]) == 1

    assert (tmp_path / "log").read_text().startswith("artifact s3://bucket/key: ")
    assert "does the endpoint" in (tmp_path / "log").read_text()
