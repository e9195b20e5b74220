"""What nothing leads to is removed, and nothing else, whatever else is under way."""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path

import pytest

from proa.images.garbage import collect, find_roots
from proa.images.layers import Layer
from proa.images.store import ImageStore
from proa.node.images.collector import ImageCollector, Thresholds, excess_bytes
from support.images import make_archive

CONFIG = {"architecture": "amd64", "os": "linux", "config": {}}
GIB = 1 << 30


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def add(store: ImageStore, name: str, *content: str) -> tuple[str, list[Layer]]:
    """Make an image of layers that each have one file; return its id and layers."""
    layers = [store.add_layer(io.BytesIO(make_archive({text: text.encode()}))) for text in content]
    return store.commit({**CONFIG, "author": name}, layers, [name]).id, layers


def age(store: ImageStore, seconds: float = 3600) -> None:
    """Let everything be old."""
    for folder in (store.blobs.path("sha256:" + "0" * 64).parent, store.directory / "layers", store.incoming):
        for path in folder.iterdir():
            os.utime(path, (os.stat(path).st_atime, os.stat(path).st_mtime - seconds))


def test_layers_that_another_image_has_stay(store: ImageStore) -> None:
    _, (shared, own) = add(store, "one:v1", "shared", "own")
    add(store, "two:v1", "shared")
    store.untag("one:v1")
    age(store)

    freed = collect(store)

    assert (freed.layers, freed.blobs) == (1, 3)
    assert store.layers.has(shared.diff_id)
    assert not store.layers.has(own.diff_id)
    assert store.resolve("two:v1") is not None


def test_what_a_container_uses_stays_without_a_name(store: ImageStore) -> None:
    image_id, (layer,) = add(store, "one:v1", "file")
    store.pin("proa-1", frozenset({image_id}))
    store.untag("one:v1")
    age(store)

    collect(store)
    assert store.layers.has(layer.diff_id)

    store.pin("proa-1", frozenset())
    age(store)
    collect(store)
    assert not store.layers.has(layer.diff_id)


def test_what_was_made_or_asked_for_during_a_lease_stays(store: ImageStore) -> None:
    _, (old,) = add(store, "one:v1", "old")
    store.untag("one:v1")
    age(store)
    with store.lease():
        made = store.add_layer(io.BytesIO(make_archive({"new": b""})))
        assert store.layers.has(old.diff_id)
        collect(store, grace_seconds=0)
        assert store.layers.has(made.diff_id)
        assert store.layers.has(old.diff_id)
    age(store)
    collect(store, grace_seconds=0)
    assert [*store.layers.all()] == []


def test_what_the_build_cache_has_goes_only_when_that_is_asked(store: ImageStore) -> None:
    layer = store.add_layer(io.BytesIO(make_archive({"step": b""})))
    records = store.directory / "build-cache" / "records"
    records.mkdir(parents=True)
    told = {"created": 1, "layer": [layer.diff_id, layer.digest, layer.size, layer.media_type]}
    (records / "step").write_text(json.dumps(told))
    os.utime(records / "step", (1, 1))
    age(store)

    assert collect(store).layers == 0
    age(store)
    assert collect(store, with_build_cache=True).layers == 1


def test_what_a_crash_left_on_its_way_is_removed_but_downloads_wait_a_day(store: ImageStore) -> None:
    (store.incoming / "blob-x").write_bytes(b"x")
    (store.incoming / "layer-x" / "fs").mkdir(parents=True)
    (store.incoming / "x.part").write_bytes(b"x")
    age(store)

    collect(store)

    assert [path.name for path in store.incoming.iterdir()] == ["x.part"]


def test_roots_are_all_that_an_image_is_made_of(store: ImageStore) -> None:
    _, layers = add(store, "one:v1", "a", "b")

    blobs, found = find_roots(store)

    assert found == {layer.diff_id for layer in layers}
    assert blobs == {digest for digest, _ in store.blobs.all()}


@pytest.mark.parametrize(
    ("available", "expected"), [(50, 0), (16, 0), (15, 5 * GIB), (5, 15 * GIB), (0, 20 * GIB)]
)
def test_above_85_percent_images_go_down_to_80(available: int, expected: int) -> None:
    assert excess_bytes(100 * GIB, available * GIB, Thresholds()) == expected


def test_the_longest_unused_goes_first_and_what_is_used_never(store: ImageStore) -> None:
    ids = {name: add(store, f"{name}:v1", name)[0] for name in ("used", "old", "recent", "young")}
    warned: list[str] = []
    time = [1000.0]
    used = {ids["used"], ids["recent"]}
    full = [100 * GIB, 50 * GIB]
    collector = ImageCollector(
        store,
        lambda: frozenset(used),
        lambda: time[0],
        warn=lambda reason, message: warned.append(message),
        changed=lambda: None,
        usage=lambda _: (full[0], full[1]),
    )

    async def scenario() -> None:
        store.untag("young:v1")
        await collector.look()
        time[0] += 200
        used.discard(ids["recent"])
        young, _ = add(store, "young:v1", "young")
        assert young == ids["young"]
        age(store)
        full[1] = 15 * GIB
        await collector.look()

    asyncio.run(scenario())

    left = {tag.rpartition("/")[2] for image in store.images() for tag in image.tags}
    assert left == {"used:v1", "young:v1"}
    assert warned[0].startswith(
        "Failed to garbage collect required amount of images. Attempted to free 5368709120"
    )
