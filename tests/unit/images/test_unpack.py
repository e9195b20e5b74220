"""A layer becomes the files that it says, for an overlay to have below; what would do harm is refused."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.images import unpack as unpacking
from proa.images.errors import ImageError, InvalidImage, TooLarge, UnsafeArchive
from proa.images.pack import pack
from proa.images.store import ImageStore
from proa.images.unpack import Means, Unpacked, unpack
from support.images import Entry, digest, make_archive, make_entry, make_folder, make_hard_link, make_link

IS_ROOT = os.geteuid() == 0
MEANS = Means(owners=IS_ROOT, devices=IS_ROOT, whiteout_devices=True, prefix="user.overlay.")
ROOTLESS = Means(owners=False, devices=False, whiteout_devices=False, prefix="user.overlay.")
DEVICE = make_entry("dev/kmem", type=tarfile.CHRTYPE, devmajor=1, devminor=2)

needs_root = pytest.mark.skipif(not IS_ROOT, reason="not on this machine: only root may give files away")


def lay(folder: Path, *entries: Entry, means: Means = MEANS, limit: int = 1 << 30) -> Unpacked:
    """Unpack these entries into the folder."""
    folder.mkdir()
    return unpack(io.BufferedReader(io.BytesIO(make_archive(entries))), str(folder), means, limit)  # type: ignore[arg-type]


def marks(path: Path) -> dict[str, bytes]:
    return {n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)}


@pytest.mark.parametrize(
    ("entries", "kind", "words"),
    [
        ([make_entry("../../etc/passwd")], UnsafeArchive, "leads out of the layer"),
        ([make_entry("a/../../b")], UnsafeArchive, "leads out of the layer"),
        (
            [make_link("a", "/etc"), make_entry("a/passwd")],
            UnsafeArchive,
            "through 'a', which is a symbolic link",
        ),
        ([make_link("a", "."), make_folder("a/b")], UnsafeArchive, "through 'a', which is a symbolic link"),
        (
            [make_link("a", "/"), make_entry("a/.wh.etc")],
            UnsafeArchive,
            "through 'a', which is a symbolic link",
        ),
        ([make_link("a", "/"), make_entry("a/.wh..wh..opq")], UnsafeArchive, "which is a symbolic link"),
        ([make_entry("f"), make_entry("f/g")], UnsafeArchive, "through 'f', which is no folder"),
        ([make_hard_link("a", "/etc/shadow")], UnsafeArchive, "no file of this layer"),
        ([make_hard_link("a", "../../etc/shadow")], UnsafeArchive, "leads out of the layer"),
        (
            [make_link("l", "/etc/shadow"), make_folder("d"), make_hard_link("h", "d")],
            UnsafeArchive,
            "no file",
        ),
        ([make_entry("x", type=tarfile.CHRTYPE)], UnsafeArchive, "a 0:0 device"),
        ([make_link("a", "")], UnsafeArchive, "to nowhere"),
        ([make_entry(".wh.")], UnsafeArchive, "hides nothing"),
        ([make_entry(".wh...")], UnsafeArchive, "hides nothing"),
        ([make_entry("/".join("d" * 300))], UnsafeArchive, "no file's"),
        ([make_entry("n" * 5000)], UnsafeArchive, "no file's"),
        ([make_link(".", "/etc")], UnsafeArchive, "would replace the root"),
        ([make_entry("x", type=b"Z")], InvalidImage, "a type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_do_harm_is_refused(
    tmp_path: Path, entries: list[Entry], kind: type[ImageError], words: str
) -> None:
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        lay(tmp_path / "layer", *entries)
    assert [path.name for path in tmp_path.iterdir()] == ["layer"]


def test_only_root_makes_devices_for_others_they_are_left_out(tmp_path: Path) -> None:
    lay(tmp_path / "layer", DEVICE, make_entry("dev/file", b"x"), means=ROOTLESS)
    assert [path.name for path in (tmp_path / "layer/dev").iterdir()] == ["file"]
    if IS_ROOT:
        lay(tmp_path / "root", DEVICE)
        assert stat.S_ISCHR((tmp_path / "root/dev/kmem").stat().st_mode)


def test_no_few_bytes_fill_the_disk(tmp_path: Path) -> None:
    bomb = make_archive([make_entry("zeros", b"\0" * (1 << 24))])
    packed = zlib.compressobj(9, wbits=31)
    blob = packed.compress(bomb) + packed.flush()
    (tmp_path / "layer").mkdir()

    with pytest.raises(TooLarge, match="when it is unpacked"):
        unpack(io.BytesIO(blob), str(tmp_path / "layer"), MEANS, 1 << 20)


def test_no_header_fills_the_memory(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="a header of"):
        lay(tmp_path / "layer", make_entry("x", pax_headers={"comment": "x" * (2 << 20)}))


def test_entries_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 3)
    with pytest.raises(TooLarge, match="more than 3 entries"):
        lay(tmp_path / "layer", *(make_entry(str(i)) for i in range(4)))


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.95])
def test_a_layer_that_is_cut_is_no_layer(tmp_path: Path, cut: float) -> None:
    packed = zlib.compressobj(wbits=31)
    blob = packed.compress(make_archive([make_entry("f", os.urandom(100_000))])) + packed.flush()
    (tmp_path / "layer").mkdir()

    with pytest.raises(InvalidImage):
        unpack(io.BytesIO(blob[: int(len(blob) * cut)]), str(tmp_path / "layer"), MEANS, 1 << 30)


def test_garbage_is_no_layer(tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    with pytest.raises(InvalidImage, match="no tar archive"):
        unpack(io.BytesIO(b"garbage" * 1000), str(tmp_path / "layer"), MEANS, 1 << 30)


@needs_root
def test_files_have_their_owner_mode_time_and_attributes(tmp_path: Path) -> None:
    capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".decode("latin1")
    found = lay(
        tmp_path / "layer",
        make_folder("srv", mode=0o2750, uid=33, gid=34, mtime=1000),
        make_entry(
            "srv/tool", b"x" * 10, mode=0o4755, uid=5, gid=6, mtime=2000,
            pax_headers={"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.a": "b",
                         "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.overlay.opaque": "y"},
        ),
        make_hard_link("srv/same", "srv/tool"),
        make_link("srv/link", "../../etc/passwd", uid=7, gid=8),
        make_entry("srv/pipe", type=tarfile.FIFOTYPE),
    )  # fmt: skip

    root = tmp_path / "layer/srv"
    folder, tool, link = root.stat(), (root / "tool").stat(), (root / "link").lstat()
    assert (folder.st_mode & 0o7777, folder.st_uid, folder.st_gid, folder.st_mtime) == (0o2750, 33, 34, 1000)
    assert (tool.st_mode & 0o7777, tool.st_uid, tool.st_gid, tool.st_mtime) == (0o4755, 5, 6, 2000)
    assert (root / "same").samefile(root / "tool")
    assert (os.readlink(root / "link"), link.st_uid, link.st_gid) == ("../../etc/passwd", 7, 8)
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)
    assert marks(root / "tool").keys() == {"security.capability", "user.a"}
    assert (found.entries, found.size) == (5, 10)


def test_absolute_names_count_from_the_layers_root(tmp_path: Path) -> None:
    lay(tmp_path / "layer", make_folder("/cnb"), make_entry("/cnb/tool", b"1"))
    assert (tmp_path / "layer/cnb/tool").read_bytes() == b"1"


def test_an_entry_that_comes_again_replaces_the_first(tmp_path: Path) -> None:
    lay(
        tmp_path / "layer",
        make_entry("a/b/c", b"1"),
        make_entry("a/b/d", b"2"),
        make_entry("a", b"file"),
        make_link("f", "a"),
        make_entry("f", b"new"),
        make_folder("a"),
        make_entry("a/x", b"3"),
    )
    assert sorted(str(p.relative_to(tmp_path / "layer")) for p in (tmp_path / "layer").rglob("*")) == [
        "a",
        "a/x",
        "f",
    ]
    assert (tmp_path / "layer/f").read_bytes() == b"new"


@pytest.mark.parametrize("means", [MEANS, ROOTLESS], ids=["devices", "attributes"])
def test_whiteouts_become_what_overlayfs_understands(tmp_path: Path, means: Means) -> None:
    lay(
        tmp_path / "layer",
        make_entry("etc/.wh.gone"),
        make_entry("etc/kept"),
        make_entry("etc/.wh.kept"),
        make_entry("opaque/.wh..wh..opq"),
        make_entry("opaque/new"),
        make_entry("again/.wh.folder"),
        make_entry("again/folder/file"),
        make_entry(".wh..wh.plnk"),
        means=means,
    )
    root = tmp_path / "layer"
    gone = (root / "etc/gone").lstat()
    if means.whiteout_devices:
        assert (stat.S_ISCHR(gone.st_mode), gone.st_rdev) == (True, 0)
    else:
        assert marks(root / "etc/gone") == {"user.overlay.whiteout": b"y"}
        assert marks(root / "etc") == {"user.overlay.opaque": b"x"}
    assert stat.S_ISREG((root / "etc/kept").lstat().st_mode)
    assert marks(root / "opaque") == {"user.overlay.opaque": b"y"}
    assert marks(root / "again/folder") == {"user.overlay.opaque": b"y"}
    assert not (root / ".wh..wh.plnk").exists()


def test_what_was_unpacked_packs_to_the_same_files(tmp_path: Path) -> None:
    lay(
        tmp_path / "one",
        make_entry("a/.wh.gone"),
        make_entry("o/.wh..wh..opq"),
        make_entry("o/file", b"1" * 70_000),
        make_hard_link("o/same", "o/file"),
        make_link("l", "o/file"),
    )
    blob = io.BytesIO()
    packed = pack(str(tmp_path / "one"), blob, gzip=True)
    (tmp_path / "two").mkdir()
    blob.seek(0)

    found = unpack(blob, str(tmp_path / "two"), MEANS, 1 << 30)

    again = io.BytesIO()
    assert found.diff_id == packed.diff_id == pack(str(tmp_path / "two"), again, gzip=False).diff_id
    assert digest(again.getvalue()) == packed.diff_id


NAMES = st.lists(st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq"]), min_size=1, max_size=4)
KINDS = st.sampled_from(["file", "folder", "link", "hard", "fifo"])
TARGETS = st.sampled_from(["/etc", "..", "../..", "a", "b", "a/b", "/tmp/proa-target"])


@given(entries=st.lists(st.tuples(KINDS, NAMES, TARGETS), max_size=12))
def test_no_archive_reaches_what_is_outside(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, list[str], str]]
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "canary").write_text("alive")
    made: list[Entry] = []
    for kind, parts, target in entries:
        name = "/".join(parts) or "a"
        target = str(outside) if target == "/tmp/proa-target" else target
        made.append(
            {
                "file": make_entry(name, b"overwritten"),
                "folder": make_folder(name, mode=0o777),
                "link": make_link(name, target),
                "hard": make_hard_link(name, target),
                "fifo": make_entry(name, type=tarfile.FIFOTYPE),
            }[kind]
        )
    before = outside.stat()

    with contextlib.suppress(ImageError):
        lay(outside.parent / f"{outside.name}-layer", *made)

    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("canary", "alive")]
    assert (outside.stat().st_mode, outside.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_the_store_says_why_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")

    with pytest.raises(UnsafeArchive, match="leads out of the layer"):
        store.add_layer(io.BytesIO(make_archive([make_entry("ok"), make_entry("../../evil")])))

    assert [*store.layers.all()] == []
    assert [*store.incoming.iterdir()] == []


def test_zstd_is_read(tmp_path: Path) -> None:
    from importlib import import_module

    try:
        zstd = import_module("compression.zstd")
    except ImportError:
        zstd = import_module("backports.zstd")
    archive = make_archive({"f": b"content" * 1000})
    store = ImageStore(tmp_path / "images")

    layer = store.add_layer(io.BytesIO(zstd.compress(archive)))

    assert layer.diff_id == digest(archive)
    assert layer.media_type.endswith("+zstd")
