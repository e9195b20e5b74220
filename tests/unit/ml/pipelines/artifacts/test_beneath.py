"""Files that hostile containers leave: nothing leads out, nothing blocks, nothing is without end."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from proa.ml.pipelines.artifacts import beneath, place, uris
from proa.ml.pipelines.artifacts.folder import Folder
from proa.ml.pipelines.artifacts.protocol import ArtifactError

ROOT = uris.parse("minio://bucket/run/task/salt")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.mkdir()
    (path / "key").write_text("private")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "artifacts" / "team")
    made.make_room(ROOT)
    return made


@pytest.fixture
def own(folder: Folder, tmp_path: Path) -> Path:
    """The attempt's own folder, as its container has it."""
    return tmp_path / "artifacts" / "team" / "bucket" / ROOT.key


def test_the_namespaces_folder_is_its_owners_and_the_attempts_is_anyones(own: Path, tmp_path: Path) -> None:
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "artifacts" / "team", own.parent, own)]

    assert modes == [0o700, 0o755, 0o777]
    assert (own.joinpath(*uris.KFP, "outputs").stat().st_mode & 0o777) == 0o777


def test_a_link_that_stands_in_for_an_artifact_is_nothing(folder: Folder, own: Path, secret: Path) -> None:
    (own / "model").symlink_to(secret / "key")
    (own / "data").symlink_to(secret)

    assert folder.stat(ROOT.below("model")) is None
    assert folder.stat(ROOT.below("data")) is None
    assert folder.stat(ROOT.below("data", "key")) is None
    assert not folder.has(ROOT.below("data"))
    assert folder.read(ROOT.below("data", "key"), 10) is None
    with pytest.raises(ArtifactError, match="not followed"):
        folder.read(ROOT.below("model"), 10)


def test_an_archive_has_only_links_that_stay_within_it(folder: Folder, own: Path, secret: Path) -> None:
    data = own / "data"
    (data / "a").mkdir(parents=True)
    (data / "a" / "file").write_text("1")
    (data / "good").symlink_to("a/file")
    (data / "a" / "up").symlink_to("../a")
    (data / "bad").symlink_to("../../x")
    (data / "worse").symlink_to(secret)
    os.mkfifo(data / "pipe")

    packed = b"".join(place.stream(folder, ROOT.below("data")))

    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert sorted(archive.getnames()) == ["a", "a/file", "a/up", "good"]


def test_a_pipe_does_not_block_anyone(folder: Folder, own: Path) -> None:
    os.mkfifo(own / "pipe")

    assert folder.stat(ROOT.below("pipe")) is None
    with pytest.raises(ArtifactError, match="no file"):
        folder.read(ROOT.below("pipe"), 10)
    folder.seal(ROOT)


def test_removing_follows_no_link(folder: Folder, own: Path, secret: Path) -> None:
    (own / "data").mkdir()
    (own / "data" / "out").symlink_to(secret)
    (own / "model").symlink_to(secret)

    folder.remove(ROOT.below("model"))
    folder.remove(ROOT)

    assert (secret / "key").read_text() == "private"
    assert not own.exists()


def test_writing_follows_no_link(folder: Folder, own: Path, secret: Path) -> None:
    (own / "data").symlink_to(secret)
    (own / "log").symlink_to(secret / "key")

    with pytest.raises(ArtifactError):
        folder.write(ROOT.below("data", "key"), b"changed")
    folder.write(ROOT.below("log"), b"changed")

    assert (secret / "key").read_text() == "private"
    assert (own / "log").read_text() == "changed"


def test_what_is_too_deep_or_too_much_is_refused(
    folder: Folder, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.joinpath("deep", *["d"] * (beneath.MAX_DEPTH + 2)).mkdir(parents=True)
    with pytest.raises(ArtifactError, match="deep"):
        folder.stat(ROOT.below("deep"))

    monkeypatch.setattr(beneath, "MAX_ENTRIES", 3)
    (own / "many").mkdir()
    for number in range(4):
        (own / "many" / str(number)).touch()
    with pytest.raises(ArtifactError, match="archive them"):
        folder.stat(ROOT.below("many"))


def test_sealed_outputs_can_be_read_by_other_users(folder: Folder, own: Path) -> None:
    (own / "data").mkdir(mode=0o700)
    (own / "data" / "file").touch(mode=0o600)

    folder.seal(ROOT)

    assert (own / "data").stat().st_mode & 0o777 == 0o755
    assert (own / "data" / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("change", ["content", "time", "name", "more", "less"])
def test_any_change_changes_the_tag(folder: Folder, own: Path, change: str) -> None:
    data = own / "data"
    data.mkdir()
    (data / "a").write_text("1")
    (data / "b").write_text("2")
    before = folder.stat(ROOT.below("data"))
    assert before == folder.stat(ROOT.below("data"))

    match change:
        case "content":
            (data / "a").write_text("11")
        case "time":
            os.utime(data / "a", ns=(1, 1))
        case "name":
            (data / "a").rename(data / "c")
        case "more":
            (data / "c").touch()
        case "less":
            (data / "b").unlink()

    after = folder.stat(ROOT.below("data"))
    assert after is not None
    assert before is not None
    assert after.tag != before.tag


def test_making_room_again_keeps_what_is_there(folder: Folder, own: Path) -> None:
    (own / "model").write_text("1")
    folder.make_room(ROOT)

    assert (own / "model").read_text() == "1"


def test_a_write_that_fails_leaves_nothing(folder: Folder, own: Path) -> None:
    (own / "log").mkdir()
    with pytest.raises(ArtifactError, match="minio://bucket/run/task/salt/log"):
        folder.write(ROOT.below("log"), b"1")

    assert sorted(path.name for path in own.iterdir()) == [".proa", "log"]
