"""What was saved is there after a restart; what was torn is not; a removed tree takes nothing else along."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from proa.node.noded.records import Records, remove_tree


def test_records_survive_whoever_wrote_them(tmp_path: Path) -> None:
    records = Records(str(tmp_path))
    records.save({"id": "a", "state": "Running"})
    records.save({"id": "a", "state": "Exited"})
    records.save({"id": "b", "state": "Running"})
    records.remove("b")
    records.remove("b")
    assert Records(str(tmp_path)).items == {"a": {"id": "a", "state": "Exited"}}


def test_a_torn_record_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"id": "a", "sta')
    (tmp_path / "b.json.new").write_text("{}")
    assert Records(str(tmp_path)).items == {}
    assert not (tmp_path / "a.json").exists()


def test_what_a_full_disk_does_not_take_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(str(tmp_path))
    records.save({"id": "a", "state": "Running"})
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        records.save({"id": "a", "state": "Exited"})
        records.save({"id": "b", "state": "Running"})
        records.save({"id": "c", "state": "Running"})
        records.remove("c")
    assert records.items["a"]["state"] == "Exited"
    assert Records(str(tmp_path)).items == {"a": {"id": "a", "state": "Running"}}
    records.save({"id": "d", "state": "Running"})
    assert Records(str(tmp_path)).items == records.items
    assert set(records.items) == {"a", "b", "d"}


def refuse(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_tree_is_removed_with_what_may_not_be_read_and_no_link_is_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "deep" / "deeper").mkdir(parents=True)
    (tree / "deep" / "file").touch()
    (tree / "link").symlink_to(outside)
    (tree / "deep" / "deeper").chmod(0)
    (tree / "deep").chmod(0o500)
    remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "kept").exists()
    remove_tree(str(tree))


def test_a_tree_of_any_depth_is_removed(tmp_path: Path) -> None:
    """A container may nest its folders deeper than Python calls, and than a process has descriptors."""
    (tmp_path / "tree").mkdir()
    fd = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    remove_tree(str(tmp_path / "tree"))
    assert not (tmp_path / "tree").exists()
