"""What every place for artifacts does alike: a folder of this machine, and a bucket of a real object store."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proa.client.fake import FakeClient
from proa.ml.pipelines.artifacts import transfer, uris
from proa.ml.pipelines.artifacts.bucket_settings import BucketSettings
from proa.ml.pipelines.artifacts.choice import ArtifactStores, StoreSettings
from proa.ml.pipelines.artifacts.endpoints import Outside
from proa.ml.pipelines.artifacts.object_store import Bucket, Credentials
from proa.ml.pipelines.artifacts.protocol import ArtifactError, ArtifactStore
from proa.ml.pipelines.artifacts.verification import verify
from proa.ml.pipelines.records import Artifact
from proa.objects.resource import CONFIG_MAPS, SECRETS
from support.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS, run_seaweedfs

NAMESPACE = "team"


@pytest.fixture(scope="module")
def weed() -> Iterator[SeaweedFS]:
    with run_seaweedfs() as server:
        server.make_bucket("mlpipeline")
        yield server


@dataclass
class Case:
    """A store, and a way to leave files as an attempt's container would have."""

    store: ArtifactStore
    leave: Callable[[str, dict[str, bytes], dict[str, bytes]], Awaitable[None]]


Open = Callable[[], Any]


@pytest.fixture(params=["folder", "s3"])
def open_case(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "folder":
        return lambda: _folder_case(tmp_path)
    return lambda: _bucket_case(tmp_path, request.getfixturevalue("weed"))


@asynccontextmanager
async def _folder_case(tmp_path: Path) -> AsyncIterator[Case]:
    stores = ArtifactStores(FakeClient(), StoreSettings(tmp_path / "artifacts"))

    async def leave(task_root: str, files: dict[str, bytes], kfp: dict[str, bytes]) -> None:
        await store.prepare([], task_root)
        own = tmp_path / "artifacts" / NAMESPACE / task_root.removeprefix("minio://")
        _write(own, files)
        _write(own.joinpath(*uris.KFP), kfp)

    store = await stores.of(NAMESPACE)
    try:
        yield Case(store, leave)
    finally:
        await stores.close()


@asynccontextmanager
async def _bucket_case(tmp_path: Path, weed: SeaweedFS) -> AsyncIterator[Case]:
    client = FakeClient()
    await configure(client, weed)
    outside = Outside({"127.0.0.1": "127.0.0.1"})
    stores = ArtifactStores(client, StoreSettings(tmp_path / "unused", outside=outside))

    async def leave(task_root: str, files: dict[str, bytes], kfp: dict[str, bytes]) -> None:
        shutil.rmtree(tmp_path / "pod", ignore_errors=True)
        _write(tmp_path / "pod" / "own", files)
        _write(tmp_path / "pod" / "kfp", kfp)
        settings = BucketSettings("minio", weed.endpoint, disable_ssl=True)
        bucket = Bucket("mlpipeline", settings, Credentials(ACCESS_KEY, SECRET_KEY))
        paths = tmp_path / "pod" / "own", tmp_path / "pod" / "kfp"
        await asyncio.to_thread(transfer.deliver, bucket, uris.parse(task_root), *paths)

    store = await stores.of(NAMESPACE)
    try:
        for uri in await _everything(store):
            await store.remove(uri)
        yield Case(store, leave)
    finally:
        await stores.close()


async def _everything(store: ArtifactStore) -> list[str]:
    return ["minio://mlpipeline/v2", "minio://mlpipeline/other"]


async def configure(client: FakeClient, weed: SeaweedFS) -> None:
    """Say that minio:// is that server, in the namespace's ConfigMap."""
    reference = {"secretName": "keys", "accessKeyKey": "a", "secretKeyKey": "s"}
    default = {
        "endpoint": weed.endpoint,
        "region": "us-east-1",
        "disableSSL": True,
        "credentials": {"fromEnv": False, "secretRef": reference},
    }
    data = {"providers": json.dumps({"minio": {"default": default}})}
    keys = {
        "a": base64.b64encode(ACCESS_KEY.encode()).decode(),
        "s": base64.b64encode(SECRET_KEY.encode()).decode(),
    }
    metadata = {"namespace": NAMESPACE}
    await client.create(
        CONFIG_MAPS, {"metadata": {"name": "kfp-launcher", **metadata}, "data": data}, NAMESPACE
    )
    await client.create(SECRETS, {"metadata": {"name": "keys", **metadata}, "data": keys}, NAMESPACE)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


ROOT = "minio://mlpipeline/v2/artifacts/pipe/run/train/salt"


def run(open_case: Open, body: Callable[[Case], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with open_case() as case:
            await body(case)

    asyncio.run(whole())


def test_what_is_written_is_read_and_removed(open_case: Open) -> None:
    async def body(case: Case) -> None:
        uri = "minio://mlpipeline/other/log ü.txt"
        assert await case.store.stat(uri) is None

        await case.store.write(uri, b"0123456789")
        first = await case.store.stat(uri)
        await case.store.write(uri, b"9876543210")

        assert first is not None
        assert (first.size, first.is_folder) == (10, False)
        assert await case.store.stat(uri) != first
        assert await case.store.read(uri, 4) == b"9876"
        assert await case.store.read(uri, 100) == b"9876543210"
        assert b"".join([chunk async for chunk in case.store.stream(uri)]) == b"9876543210"
        await case.store.remove(uri)
        await case.store.remove(uri)
        assert await case.store.stat(uri) is None

    run(open_case, body)


def test_an_empty_file_is_a_file(open_case: Open) -> None:
    async def body(case: Case) -> None:
        await case.store.write("minio://mlpipeline/other/empty", b"")
        found = await case.store.stat("minio://mlpipeline/other/empty")

        assert found is not None
        assert (found.size, found.is_folder) == (0, False)
        assert await case.store.read("minio://mlpipeline/other/empty", 10) == b""
        assert [chunk async for chunk in case.store.stream("minio://mlpipeline/other/empty")] == []

    run(open_case, body)


def test_nothing_and_folders_are_no_files_to_read(open_case: Open) -> None:
    async def body(case: Case) -> None:
        await case.store.write("minio://mlpipeline/other/folder/file", b"1")
        for uri in ("minio://mlpipeline/other/nothing", "minio://mlpipeline/other/folder"):
            with pytest.raises(ArtifactError, match=uri):
                await case.store.read(uri, 10)
        with pytest.raises(ArtifactError, match="nothing is there"):
            [chunk async for chunk in case.store.stream("minio://mlpipeline/other/nothing")]

    run(open_case, body)


def test_an_attempts_outputs_are_found_once_sealed(open_case: Open) -> None:
    async def body(case: Case) -> None:
        kfp = {"outputs/accuracy": b"0.5", "executor_output.json": b"{}"}
        await case.leave(ROOT, {"model": b"weights", "data/train/x.csv": b"1,2", "data/y.csv": b"3"}, kfp)
        await case.store.seal(ROOT)

        model, data = await case.store.stat(f"{ROOT}/model"), await case.store.stat(f"{ROOT}/data")
        assert model is not None
        assert (model.size, model.is_folder) == (7, False)
        assert data is not None
        assert (data.size, data.is_folder) == (4, True)
        assert await case.store.read_output(ROOT, "/tmp/kfp/outputs/accuracy", 10) == b"0.5"
        assert await case.store.read_output(ROOT, "/tmp/kfp/executor_output.json", 10) == b"{}"
        assert await case.store.read_output(ROOT, "/tmp/kfp/outputs/loss", 10) is None
        with pytest.raises(ArtifactError, match="more than 2 bytes"):
            await case.store.read_output(ROOT, "/tmp/kfp/outputs/accuracy", 2)

    run(open_case, body)


@pytest.mark.parametrize("path", ["/etc/passwd", "/tmp/kfp/../x", "/tmp/kfpx", "/tmp/kfp/"])
def test_outputs_are_read_below_their_folder_only(open_case: Open, path: str) -> None:
    async def body(case: Case) -> None:
        with pytest.raises(ArtifactError):
            await case.store.read_output(ROOT, path, 10)

    run(open_case, body)


def test_a_folder_is_streamed_as_an_archive(open_case: Open) -> None:
    async def body(case: Case) -> None:
        big = bytes(range(256)) * 8192
        await case.leave(ROOT, {"data/train/big": big, "data/ü": b"3"}, {})
        packed = b"".join([chunk async for chunk in case.store.stream(f"{ROOT}/data")])

        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
            files = {one.name: archive.extractfile(one) for one in archive.getmembers() if one.isfile()}
            assert {name: file.read() for name, file in files.items() if file} == {
                "train/big": big,
                "ü": b"3",
            }

    run(open_case, body)


def test_a_download_that_is_given_up_leaves_nothing_behind(open_case: Open) -> None:
    async def body(case: Case) -> None:
        await case.store.write("minio://mlpipeline/other/big", bytes(5 << 20))
        stream = case.store.stream("minio://mlpipeline/other/big")
        assert len(await anext(stream)) > 0
        await stream.aclose()  # type: ignore[attr-defined]
        await case.store.remove("minio://mlpipeline/other/big")

    run(open_case, body)


def test_an_artifact_is_verified_by_what_it_was_when_recorded(open_case: Open) -> None:
    async def body(case: Case) -> None:
        await case.leave(ROOT, {"data/a": b"1", "data/b": b"2"}, {})
        recorded = await case.store.stat(f"{ROOT}/data")
        assert recorded is not None
        artifact = Artifact("1", "data", f"{ROOT}/data", tag=recorded.tag)

        assert await verify(case.store, artifact) == ""
        await case.store.write(f"{ROOT}/data/b", b"3")
        assert "has changed" in await verify(case.store, artifact)
        await case.store.remove(f"{ROOT}/data")
        assert "is gone" in await verify(case.store, artifact)
        assert await verify(case.store, Artifact("2", "metrics", f"{ROOT}/metrics")) == ""

    run(open_case, body)


def test_an_import_has_to_be_there_and_to_be_an_artifact(open_case: Open) -> None:
    async def body(case: Case) -> None:
        await case.store.write("minio://mlpipeline/other/data", b"1")
        found = await case.store.check_import("minio://mlpipeline/other/data")

        assert found is not None
        assert found.size == 1
        assert await case.store.check_import("oci://registry/model:v1") is None
        for uri in (
            "minio://mlpipeline/other/nothing",
            "file:///etc/passwd",
            "/etc/passwd",
            "https://e.org/x",
            "",
        ):
            with pytest.raises(ArtifactError):
                await case.store.check_import(uri)

    run(open_case, body)


def test_removing_a_runs_folder_takes_all_of_it_and_nothing_else(open_case: Open) -> None:
    async def body(case: Case) -> None:
        other = ROOT.replace("/run/", "/run2/")
        await case.leave(ROOT, {"a/b": b"1", "c": b"2"}, {"outputs/x": b"1"})
        await case.leave(other, {"a": b"1"}, {})
        await case.store.remove("minio://mlpipeline/v2/artifacts/pipe/run")

        assert await case.store.stat("minio://mlpipeline/v2/artifacts/pipe/run") is None
        assert await case.store.stat(f"{other}/a") is not None
        with pytest.raises(ArtifactError):
            await case.store.remove("minio://mlpipeline")
        with pytest.raises(ArtifactError):
            await case.store.seal(ROOT)

    run(open_case, body)
