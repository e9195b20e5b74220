"""Files from a hostile source into a root: what COPY does, and what no link can make it do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proa.builder.copying import CannotCopy, How, Target
from proa.builder.ignore import Ignore, parse_ignore
from proa.builder.tree import MissingSource, Tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "dir" / "sub").mkdir(parents=True)
    (folder / "dir" / "a.txt").write_text("a")
    (folder / "dir" / "sub" / "b.txt").write_text("b")
    (folder / "file").write_text("file")
    (folder / "file").chmod(0o640)
    os.utime(folder / "file", (1000, 1000))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def target(root: Path) -> Iterator[Target]:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield Target(descriptor)
    os.close(descriptor)


def copy(source: Path, path: str, target: Target, to: str, how: How | None = None, ignore: str = "") -> None:
    """Copy what `path` leads to in a tree."""
    tree = Tree(str(source), parse_ignore(ignore))
    try:
        target.copy(tree, tree.resolve(path), to, how or How())
    finally:
        tree.close()


def listed(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@pytest.mark.parametrize(
    ("path", "to", "expected"),
    [
        ("file", "/new", ["new"]),
        ("file", "/new/", ["new", "new/file"]),
        ("file", "/a/b/c", ["a", "a/b", "a/b/c"]),
        ("dir", "/new", ["new", "new/a.txt", "new/sub", "new/sub/b.txt"]),
        ("dir/sub", "/", ["b.txt"]),
    ],
)
def test_a_file_becomes_the_target_or_goes_into_it_and_of_a_folder_its_contents_do(
    source: Path, root: Path, target: Target, path: str, to: str, expected: list[str]
) -> None:
    copy(source, path, target, to)
    assert listed(root) == expected


def test_what_is_copied_keeps_mode_and_time_and_what_is_made_above_has_its_own(
    source: Path, root: Path, target: Target
) -> None:
    copy(source, "file", target, "/deep/new")
    found = (root / "deep/new").stat()
    assert (found.st_mode & 0o7777, found.st_mtime) == (0o640, 1000)
    assert (root / "deep").stat().st_mode & 0o7777 == 0o755
    copy(source, "file", target, "/deep/other", How(mode=0o4711))
    assert (root / "deep/other").stat().st_mode & 0o7777 == 0o4711


def test_a_folder_is_merged_into_one_that_is_there(source: Path, root: Path, target: Target) -> None:
    (root / "dir/sub").mkdir(parents=True)
    (root / "dir/sub/old").write_text("old")
    (root / "dir/a.txt").symlink_to("/etc/passwd")
    (root / "dir").chmod(0o700)
    copy(source, "dir", target, "/dir")
    assert listed(root) == ["dir", "dir/a.txt", "dir/sub", "dir/sub/b.txt", "dir/sub/old"]
    assert (root / "dir/a.txt").read_text() == "a"
    assert not (root / "dir/a.txt").is_symlink()
    assert (root / "dir").stat().st_mode & 0o7777 == 0o700


def test_links_of_the_root_lead_to_nothing_outside_of_it(
    source: Path, root: Path, target: Target, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    (root / "away").symlink_to(outside)
    (root / "up").symlink_to("../../../../../.." + str(outside))
    (root / "one").symlink_to(outside / "file")
    copy(source, "file", target, "/away/file")
    copy(source, "dir", target, "/up")
    copy(source, "file", target, "/one")
    assert listed(outside) == ["file"]
    assert (outside / "file").read_text() == "precious"
    assert (root / str(outside)[1:] / "file").read_text() == "file"
    assert (root / str(outside)[1:] / "a.txt").read_text() == "a"


def test_links_of_a_source_lead_to_nothing_outside_of_it(source: Path, root: Path, target: Target) -> None:
    (source / "secret").symlink_to("/etc/passwd")
    (source / "up").symlink_to("../../../../../../etc")
    (source / "inner").symlink_to("/file")
    for path in ("secret", "up/passwd", "../../etc/passwd"):
        with pytest.raises(MissingSource):
            copy(source, path, target, "/x")
    copy(source, "inner", target, "/x")
    assert (root / "x").read_text() == "file"
    copy(source, "", target, "/all")
    assert os.readlink(root / "all/secret") == "/etc/passwd"


def test_what_is_ignored_is_not_there_by_whatever_name(source: Path, root: Path, target: Target) -> None:
    (source / "alias").symlink_to("dir/a.txt")
    for path in ("dir/a.txt", "alias"):
        with pytest.raises(MissingSource, match=r"left out by \.dockerignore"):
            copy(source, path, target, "/x", ignore="dir/a.txt")
    copy(source, "", target, "/", ignore="dir\n!dir/sub")
    assert listed(root) == ["alias", "dir", "dir/sub", "dir/sub/b.txt", "file"]


def test_exclude_is_relative_to_the_source(source: Path, root: Path, target: Target) -> None:
    copy(source, "dir", target, "/new", How(exclude=Ignore(["sub"])))
    assert listed(root) == ["new", "new/a.txt"]


def test_a_file_and_a_folder_do_not_replace_one_another(source: Path, root: Path, target: Target) -> None:
    (root / "taken").write_text("")
    (root / "folder/file").mkdir(parents=True)
    with pytest.raises(CannotCopy):
        copy(source, "dir", target, "/taken")
    with pytest.raises(CannotCopy, match="cannot replace a folder"):
        copy(source, "file", target, "/folder/")


def test_hard_links_stay_hard_links_and_sockets_are_left_out(
    source: Path, root: Path, target: Target
) -> None:
    os.link(source / "file", source / "dir/twin")
    os.link(source / "file", source / "dir/sub/twin")
    os.mkfifo(source / "dir/pipe")
    copy(source, "dir", target, "/new")
    assert (root / "new/twin").samefile(root / "new/sub/twin")
    assert (root / "new/pipe").is_fifo()


def test_names_modes_and_contents_make_the_digest_and_times_do_not(source: Path) -> None:
    def digest(ignore: str = "") -> str:
        tree = Tree(str(source), parse_ignore(ignore), owned=False)
        try:
            return tree.digest([tree.resolve("dir")], Ignore())
        finally:
            tree.close()

    first = digest()
    os.utime(source / "dir/a.txt", (5, 5))
    assert digest() == first
    assert digest("dir/sub") != first
    (source / "dir/a.txt").chmod(0o755)
    second = digest()
    assert second != first
    (source / "dir/a.txt").write_text("A")
    assert digest() not in (first, second)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["dir", "file"]),
        ("d*/*", ["dir/a.txt", "dir/sub"]),
        ("dir/[a-b].txt", ["dir/a.txt"]),
        ("**/a.txt", ["dir/a.txt"]),
        ("nothing*", []),
        ("plain", ["plain"]),
    ],
)
def test_wildcards_stay_within_one_name(source: Path, pattern: str, expected: list[str]) -> None:
    tree = Tree(str(source))
    try:
        assert tree.glob(pattern) == expected
    finally:
        tree.close()
