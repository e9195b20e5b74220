"""The log has one line a line, whatever the pieces in which output arrives."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.node.noded.logs import MAX_LINE_BYTES, LogFile, format_time

NOW = 1_767_225_845_123_456_789  # 2026-01-01T00:04:05.123456789Z


def logged(folder: Path, pieces: list[tuple[str, bytes]]) -> list[tuple[bytes, bytes, bytes]]:
    path = folder / "logs" / "0.log"
    path.unlink(missing_ok=True)
    log = LogFile(str(path))
    for stream, data in pieces:
        log.write(stream, data, NOW)
    log.close(NOW)
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    found = [line.split(b" ", 3) for line in lines]
    assert all(fields[0] == b"2026-01-01T00:04:05.123456789Z" for fields in found)
    return [(fields[1], fields[2], fields[3]) for fields in found]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([("stdout", b"one\ntwo\n")], [(b"stdout", b"F", b"one"), (b"stdout", b"F", b"two")]),
        ([("stdout", b"on"), ("stdout", b"e\n")], [(b"stdout", b"F", b"one")]),
        ([("stdout", b"a"), ("stderr", b"b\n"), ("stdout", b"c\n")],
         [(b"stderr", b"F", b"b"), (b"stdout", b"F", b"ac")]),
        ([("stdout", b"\n\n")], [(b"stdout", b"F", b""), (b"stdout", b"F", b"")]),
        ([("stdout", b"no newline")], [(b"stdout", b"P", b"no newline")]),
    ],
    ids=["lines", "pieces", "two streams", "empty lines", "no newline at the end"],
)  # fmt: skip
def test_lines(
    tmp_path: Path, pieces: list[tuple[str, bytes]], expected: list[tuple[bytes, bytes, bytes]]
) -> None:
    assert logged(tmp_path, pieces) == expected


@given(st.lists(st.binary(max_size=3 * MAX_LINE_BYTES), max_size=5))
def test_partial_lines_join_to_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    lines = logged(tmp_path_factory.mktemp("log"), [("stdout", piece) for piece in pieces])
    assert all(len(text) <= MAX_LINE_BYTES for _, _, text in lines)
    joined = b"".join(text + (b"\n" if tag == b"F" else b"") for _, tag, text in lines)
    written = b"".join(pieces)
    assert joined in (written, written + b"\n")


def test_rotation_keeps_the_newest_files(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "0.log"), max_bytes=200, max_files=3)
    for number in range(40):
        log.write("stdout", b"line %d\n" % number, NOW)
    log.close(NOW)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert all(file.stat().st_size <= 200 for file in files)
    assert b"line 39" in (tmp_path / "0.log").read_bytes()


def test_a_log_is_continued_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "0.log").write_bytes(b"before\n")
    log = LogFile(str(tmp_path / "0.log"))
    log.write("stdout", b"after\n", NOW)
    log.close(NOW)
    assert (tmp_path / "0.log").read_bytes().startswith(b"before\n2026")
    (tmp_path / "link.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        LogFile(str(tmp_path / "link.log"))


def test_no_path_means_no_log() -> None:
    log = LogFile("")
    log.write("stdout", b"lost\n", NOW)
    log.close(NOW)


def test_times_have_nanoseconds() -> None:
    assert format_time(5) == b"1970-01-01T00:00:00.000000005Z"


def test_a_full_disk_does_not_stop_the_container(capfd: pytest.CaptureFixture[str]) -> None:
    log = LogFile("")
    log._fd = os.open("/dev/full", os.O_WRONLY)
    for _ in range(2):
        log.write("stdout", b"lost\n", NOW)
    log.close(NOW)
    assert capfd.readouterr().err.count("No space left") == 1


def test_a_disk_that_takes_half_a_line_keeps_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogFile(str(tmp_path / "0.log"), max_bytes=200)
    log.write("stdout", b"first\n", NOW)
    write, room = os.write, [10]

    def write_some(fd: int, data: memoryview) -> int:
        return write(fd, data[: room.pop()]) if room else full()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_some)
        log.write("stdout", b"lost\n", NOW)
        patch.setattr(os, "open", full)
        log.write("stdout", b"x" * 200 + b"\n", NOW)  # there is no room for another file either
    log.write("stdout", b"last\n", NOW)
    log.close(NOW)
    assert [line.split()[-1] for line in (tmp_path / "0.log").read_bytes().splitlines()] == [
        b"first",
        b"last",
    ]
