"""A backup shows one revision, whole or not at all; a restore checks all of it first, and survives any crash."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from proa.apiserver.backup_file import BadBackup, Reader, Writer, encode_end, encode_entry, encode_start
from proa.apiserver.handlers.backup import dump, serve_backup
from proa.apiserver.restoring import stage
from proa.client.protocol import Request, User
from proa.home import Home, write_private
from proa.objects.errors import Forbidden
from proa.store.log import LogStore
from proa.store.memory import MemoryStore
from proa.store.protocol import Compacted, Entry, Store

ENTRIES = [Entry("/a", b"text \xc3\xa9", 1), Entry("/b", b"", 7), Entry("/c", b"\xff\x00", 3)]
REVISION = 9


def value(text: str) -> Callable[[int], bytes]:
    return lambda revision: f"{text}@{revision}".encode()


def make_backup(
    entries: list[Entry] = ENTRIES,
    files: dict[str, bytes] | None = None,
    large: dict[str, bytes] | None = None,
) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, "2026-01-31T12:00:00Z", "0.1")
    for name, content in (
        {"cluster.json": b'{"id": "i", "port": 1}', "pki/ca.key": b"k"} | (files or {})
    ).items():
        writer.write_file(name, content)
    for name, content in (large or {}).items():
        writer.write_large_file(name, io.BytesIO(content))
    writer.write(encode_start(REVISION, len(entries)))
    for entry in entries:
        writer.write(encode_entry(entry, entry.value))
    writer.write(encode_end(len(entries)))
    writer.finish()
    return file.getvalue()


def read(data: bytes) -> list[Entry]:
    return list(Reader(io.BytesIO(data)).entries())


async def collect(store: Store) -> list[dict[str, object]]:
    return [
        json.loads(line) for lines in [piece async for piece in dump(store)] for line in lines.splitlines()
    ]


def test_what_is_written_is_read_again() -> None:
    reader = Reader(io.BytesIO(make_backup()))
    assert reader.revision == REVISION
    assert reader.files["pki/ca.key"] == b"k"
    assert list(reader.entries()) == ENTRIES


def test_a_backup_cut_off_anywhere_is_refused() -> None:
    plain = gzip.decompress(make_backup())
    for end in range(0, len(plain), 3):
        with pytest.raises(BadBackup):
            read(gzip.compress(plain[:end], 1))
    packed = make_backup()
    for end in range(len(packed)):
        with pytest.raises(BadBackup):
            read(packed[:end])


def test_a_backup_changed_anywhere_is_refused() -> None:
    plain = gzip.decompress(make_backup())
    for place in range(len(plain)):
        changed = bytearray(plain)
        changed[place] ^= 1
        with pytest.raises(BadBackup):
            read(gzip.compress(bytes(changed), 1))


@pytest.mark.parametrize(("data", "words"), [
    (b"hello", "no backup of proa"), (gzip.compress(b"hello\n"), "line 1: is no JSON"), (b"", "ends before its end"),
    (gzip.compress(b"[]\n"), "line 1: is no line"), (gzip.compress(b"{}\n"), "this is no backup"),
    (gzip.compress(b'{"format":"proa-backup","version":2}\n'), "version 2.*restore it with a newer proa"),
    (make_backup([ENTRIES[1], ENTRIES[0]]), "line 6: keys are not in order"),
    (make_backup([Entry("/a", b"", REVISION + 1)]), "line 5: its revision"),
    (make_backup() + gzip.compress(b"more\n"), "something follows"),
], ids=lambda value: value if isinstance(value, str) else "data")  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(data: bytes, words: str) -> None:
    with pytest.raises(BadBackup, match=words):
        read(data)


def test_a_backup_under_way_does_not_see_what_is_written_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proa.apiserver.handlers.backup.PAGE", 3)

    async def main() -> None:
        store = MemoryStore()
        for number in range(10):
            await store.put(f"/{number}", value("x"))
        lines: list[dict[str, object]] = []
        async for piece in dump(store):
            lines += [json.loads(line) for line in piece.splitlines()]
            await store.put("/5", value("later"))
            await store.put(f"/{len(lines)}-new", value("x"))
            if store.get("/8"):
                await store.delete("/8")
        assert lines[0] == {"start": {"revision": 10, "objects": 10}}
        assert lines[1:-1] == [
            {"key": f"/{number}", "revision": number + 1, "value": f"x@{number + 1}"} for number in range(10)
        ]
        assert lines[-1] == {"end": {"objects": 10}}

    asyncio.run(main())


def test_a_backup_that_is_too_slow_says_so() -> None:
    class Forgetful(MemoryStore):
        def range(self, prefix: str, **options: object) -> object:  # type: ignore[override]
            raise Compacted(5)

    assert asyncio.run(collect(Forgetful()))[-1] == {"error": "revisions before 5 are compacted"}


@pytest.mark.parametrize("user", [None, User("eve", ("system:authenticated",))])
def test_only_administrators_get_a_backup(user: User | None) -> None:
    with pytest.raises(Forbidden, match="/proa/backup"):
        serve_backup(Request("GET", "/proa/backup", user=user), MemoryStore())


def opened(folder: Path) -> tuple[int, list[Entry]]:
    async def main() -> tuple[int, list[Entry]]:
        store = LogStore(folder)
        try:
            found = store.revision, list(store.range("").entries)
            assert (await store.put("/new", value("x"))).revision == store.revision == found[0] + 1
            return found
        finally:
            await store.close()

    return asyncio.run(main())


def test_a_restored_store_goes_on_where_the_backup_was(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    restored = stage(home, io.BytesIO(make_backup()))
    assert restored == {"objects": 3, "revision": REVISION, "createdAt": "2026-01-31T12:00:00Z"}
    home.finish_restore()
    assert opened(home.store) == (REVISION, ENTRIES)
    assert (home.pki / "ca.key").read_bytes() == b"k"
    assert (home.pki / "ca.key").stat().st_mode & 0o777 == 0o600
    assert json.loads(home.settings.read_text()) == {"id": "i", "port": 1, "store": ""}
    assert sorted(path.name for path in home.path.iterdir()) == ["cluster.json", "pki", "store"]


@pytest.mark.parametrize("name", ["pipelines/pipelines.db", "tuning/observations.db"])
def test_a_database_comes_in_parts_and_replaces_only_itself(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proa.apiserver.backup_file.PART_BYTES", 3)
    home = Home(tmp_path)
    home.make()
    database = home.path / name
    assert database in home.databases
    (database.parent / "artifacts").mkdir(parents=True)
    for journal in ("", "-wal", "-shm"):
        database.with_name(database.name + journal).write_text("old")
    stage(home, io.BytesIO(make_backup(large={name: b"0123456789"})))
    home.finish_restore()
    assert sorted(path.name for path in database.parent.iterdir()) == sorted(["artifacts", database.name])
    assert database.read_bytes() == b"0123456789"
    assert database.stat().st_mode & 0o777 == 0o600
    for name in ("pipelines/other", "pki/ca.key", "../x", "pipelines/../../x"):
        with pytest.raises(BadBackup, match="it has a file that no cluster has"):
            stage(home, io.BytesIO(make_backup(large={name: b"x"})))


def test_a_part_that_is_missing_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proa.apiserver.backup_file.PART_BYTES", 3)
    lines = gzip.decompress(make_backup(large={"pipelines/pipelines.db": b"0123456789"})).splitlines(True)
    without = [line for line in lines if b'"part":1' not in line]
    with pytest.raises(BadBackup, match="line 5: a part of a file is missing"):
        read(gzip.compress(b"".join(without)))


def fill(home: Home) -> None:
    """Make a home with something in it."""
    home.make()
    home.store.mkdir()
    home.pki.mkdir()
    (home.pki / "old.key").write_text("old")
    home.volumes.mkdir()
    write_private(home.settings, json.dumps({"id": "old", "port": 7, "listen": "::1"}))


@pytest.mark.parametrize(("data", "words"), [
    (make_backup()[:-9], "not whole"), (make_backup(files={"../x": b""}), "a file that no cluster has"),
    (make_backup(files={"pki/../../x": b""}), "a file that no cluster has"),
    (make_backup(files={"pki/..": b""}), "a file that no cluster has"),
    (make_backup(files={"/etc/x": b""}), "a file that no cluster has"),
    (make_backup(files={"cluster.json": b"[]"}), "is no object"),
])  # fmt: skip
def test_a_backup_that_is_refused_changes_nothing(tmp_path: Path, data: bytes, words: str) -> None:
    home = Home(tmp_path / "home")
    fill(home)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadBackup, match=words):
        stage(home, io.BytesIO(data))
    home.finish_restore()
    assert sorted(tmp_path.rglob("*")) == before
    assert json.loads(home.settings.read_text())["id"] == "old"


@pytest.mark.parametrize("steps", range(4))
def test_a_restore_that_a_crash_interrupts_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    home = Home(tmp_path / "home")
    fill(home)
    stage(home, io.BytesIO(make_backup()))
    assert (home.pki / "old.key").exists(), "what is staged is not in place yet"
    left = [steps]
    replace = os.replace

    def crash(source: Path, target: Path) -> None:
        if not left[0]:
            raise InterruptedError
        left[0] -= 1
        replace(source, target)

    with monkeypatch.context() as context:
        context.setattr(os, "replace", crash)
        try:
            home.finish_restore()
        except InterruptedError:
            assert steps < 3
    home.finish_restore()
    assert not home.restore_ready.exists()
    assert opened(home.store) == (REVISION, ENTRIES)
    assert sorted(path.name for path in home.pki.iterdir()) == ["ca.key"]
    assert json.loads(home.settings.read_text()) == {"id": "i", "port": 7, "listen": "::1", "store": ""}
    assert home.volumes.is_dir(), "volumes stay"
