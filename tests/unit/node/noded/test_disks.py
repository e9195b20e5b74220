"""What folders take is counted whatever a pod makes in them."""

from __future__ import annotations

import os
from pathlib import Path

from proa.node.noded.disks import count


def test_links_and_second_names_count_once_and_lead_nowhere(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (outside / "large").write_bytes(bytes(1 << 20))
    (folder / "below").mkdir(parents=True)
    (folder / "file").write_bytes(bytes(5000))
    os.link(folder / "file", folder / "below" / "again")
    (folder / "link").symlink_to(outside)
    size, inodes = count(str(folder))
    assert inodes == 3
    assert 8192 <= size < 100_000
    assert count(str(folder / "link")) == (0, 0)
    assert count(str(tmp_path / "nonesuch")) == (0, 0)


def test_folders_deeper_than_a_path_may_be_do_not_end_the_count(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(5000))
    held = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("x" * 250, dir_fd=held)
        inner = os.open("x" * 250, os.O_RDONLY, dir_fd=held)
        os.close(held)
        held = inner
    os.close(held)
    size, inodes = count(str(tmp_path))
    assert size >= 8192
    assert 10 < inodes < 31
