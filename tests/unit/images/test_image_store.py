"""The store keeps what it is given, whole or not at all, under every name, for every process."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import pytest

from proa.images.errors import ImageNotFound, InvalidImage
from proa.images.store import ImageStore
from support.images import digest, make_archive

CONFIG = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"], "Env": ["A=1"]}}


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def test_the_folder_is_its_owners_alone(store: ImageStore) -> None:
    assert store.directory.stat().st_mode & 0o777 == 0o700


def test_a_layer_is_unpacked_once_and_found_by_its_diff_id(store: ImageStore) -> None:
    archive = make_archive({"etc/motd": b"ahoy\n", "bin/tool": b"#!"})

    layer = store.add_layer(io.BytesIO(gzip.compress(archive)))
    again = store.add_layer(io.BytesIO(archive))

    assert layer.diff_id == again.diff_id == digest(archive)
    assert layer.media_type.endswith("+gzip")
    assert again.media_type.endswith(".tar")
    assert (store.layers.path(layer.diff_id) / "etc/motd").read_bytes() == b"ahoy\n"
    assert [name for name, _ in store.layers.all()] == [layer.diff_id]
    assert [*store.incoming.iterdir()] == []


def test_an_image_of_layers_is_found_by_each_of_its_names(store: ImageStore) -> None:
    with store.lease():
        base = store.add_layer(io.BytesIO(make_archive({"etc/os": b"x"})))
        top = store.add_layer(io.BytesIO(make_archive({"app": b"y"})))
        made = store.commit(CONFIG, [base, top], ["app", "registry.test/team/app:v1"])

    assert made.tags == ("docker.io/library/app:latest", "registry.test/team/app:v1")
    assert made.config["rootfs"] == {"type": "layers", "diff_ids": [base.diff_id, top.diff_id]}
    for name in (
        "app",
        "docker.io/library/app:latest",
        "registry.test/team/app:v1",
        f"registry.test/team/app@{made.target.digest}",
        made.id,
        made.id.removeprefix("sha256:")[:12],
    ):
        assert store.resolve(name) == made, name
    assert store.resolve("app:other") is None
    assert ImageStore(store.directory).resolve("app") == made
    assert made.layers == (base, top)


def test_a_folder_becomes_a_layer_and_is_taken(store: ImageStore, tmp_path: Path) -> None:
    source = tmp_path / "upper"
    (source / "usr/bin").mkdir(parents=True)
    (source / "usr/bin/tool").write_bytes(b"tool")
    os.link(source / "usr/bin/tool", source / "usr/bin/alias")
    (source / "link").symlink_to("/usr/bin/tool")

    layer = store.add_layer(source)

    files = store.layers.path(layer.diff_id)
    assert not source.exists()
    assert (files / "usr/bin/tool").samefile(files / "usr/bin/alias")
    assert os.readlink(files / "link") == "/usr/bin/tool"
    blob = gzip.decompress(store.blobs.path(layer.digest).read_bytes())
    assert store.add_layer(io.BytesIO(blob)).diff_id == layer.diff_id


def test_the_same_folder_gives_the_same_layer(store: ImageStore, tmp_path: Path) -> None:
    layers = []
    for name in ("one", "two"):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc/file").write_bytes(b"same")
        for path in (tmp_path / name / "etc/file", tmp_path / name / "etc"):
            os.utime(path, (1, 1))
        layers.append(store.add_layer(tmp_path / name))

    assert layers[0] == layers[1]
    assert not (tmp_path / "two").exists()


def test_content_with_another_digest_is_not_kept(store: ImageStore) -> None:
    with store.blobs.writer() as writer:
        writer.write(b"one")
        with pytest.raises(InvalidImage, match="not sha256:"):
            writer.commit(digest(b"other"))

    assert [*store.blobs.all()] == []
    assert [*store.incoming.iterdir()] == []


def test_a_manifest_whose_bytes_changed_on_disk_is_noticed(store: ImageStore) -> None:
    made = store.commit(CONFIG, [], ["app"])
    store.blobs.path(made.id).write_bytes(b"{}")

    with pytest.raises(InvalidImage, match="has changed on disk"):
        ImageStore(store.directory).resolve("app")


def test_a_name_that_moves_leaves_the_old_image_its_digest(store: ImageStore) -> None:
    old = store.commit(CONFIG, [], ["app:v1"])
    new = store.commit({**CONFIG, "author": "me"}, [], ["app:v1"])

    assert store.resolve("app:v1") == new
    found = store.resolve(f"app@{old.target.digest}")
    assert found is not None
    assert (found.id, found.tags) == (old.id, ())


@pytest.mark.parametrize(
    ("removed", "left"),
    [
        ("app:v1", ["docker.io/library/app:v2"]),
        ("{id}", []),
    ],
)
def test_a_name_is_taken_or_the_whole_image(store: ImageStore, removed: str, left: list[str]) -> None:
    made = store.commit(CONFIG, [], ["app:v1", "app:v2"])

    store.untag(removed.format(id=made.id))

    assert [tag for image in store.images() for tag in image.tags] == left


def test_the_last_tag_of_a_repository_takes_its_digest_along(store: ImageStore) -> None:
    store.commit(CONFIG, [], ["app:v1", "other.test/app:v1"])

    store.untag("app:v1")

    assert {name.partition("/")[0] for name in store.names.all()} == {"other.test"}


def test_what_is_not_here_cannot_be_tagged(store: ImageStore) -> None:
    made = store.commit(CONFIG, [], ["app"])
    store.blobs.remove(made.target.digest)

    with pytest.raises(ImageNotFound):
        store.tag("app:v2", made.target)


def test_a_lease_ends_with_its_holder(store: ImageStore) -> None:
    with store.lease():
        assert store.oldest_lease() is not None
    assert store.oldest_lease() is None


def test_who_uses_images_is_known_to_every_process(store: ImageStore) -> None:
    store.pin("proa-1", frozenset({"sha256:a"}))
    store.pin("proa-2", frozenset({"sha256:b"}))
    store.pin("proa-1", frozenset({"sha256:c"}))

    assert ImageStore(store.directory).pinned() == {"sha256:b", "sha256:c"}
