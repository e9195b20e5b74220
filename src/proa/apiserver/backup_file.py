"""The format of a backup: lines of JSON that a person can read, in gzip, with a count and a checksum at the end.

    {"format": "proa-backup", "version": 1, "createdAt": …, "proa": …}
    {"file": "pki/ca.key", "data": base64}                           what belongs to a cluster besides objects
    {"file": "pipelines/pipelines.db", "part": 0, "data": base64}    a file that may be large, in parts
    {"start": {"revision": R, "objects": about how many}}
    {"key": …, "revision": …, "value": text, or "data": base64}      each object, as it is stored
    {"end": {"objects": how many}}
    {"sha256": of all lines before}

Whatever does not fit is refused before anything is restored; `Reader` says which line it is.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import orjson

from proa.store.protocol import Entry

FORMAT = "proa-backup"
VERSION = 1
MAX_LINE_BYTES = 64 << 20
PART_BYTES = 4 << 20
_LEVEL = 1
"""Of compression: objects shrink to a tenth, and more would cost ten times the time."""


class BadBackup(Exception):
    """The file is no backup, not whole, or of a version that is not known."""


def encode_start(revision: int, objects: int) -> bytes:
    """Return the line before the objects."""
    return _line({"start": {"revision": revision, "objects": objects}})


def encode_entry(entry: Entry, stored: bytes) -> bytes:
    """Return an object's line."""
    line: dict[str, Any] = {"key": entry.key, "revision": entry.revision}
    try:
        line["value"] = stored.decode()
    except UnicodeDecodeError:
        line["data"] = base64.b64encode(stored).decode()
    return _line(line)


def encode_end(objects: int) -> bytes:
    """Return the line after the objects."""
    return _line({"end": {"objects": objects}})


def encode_failure(message: str) -> bytes:
    """Return the line that ends a stream which could not be completed."""
    return _line({"error": message})


def _line(content: dict[str, Any]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


class Writer:
    """Writes a backup to a binary file that it does not close."""

    def __init__(self, file: IO[bytes], created_at: str, version: str) -> None:
        self._sum = hashlib.sha256()
        self._gzip = gzip.GzipFile("", fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0)
        self.write(_line({"format": FORMAT, "version": VERSION, "createdAt": created_at, "proa": version}))

    def write(self, lines: bytes) -> None:
        """Write whole lines."""
        self._sum.update(lines)
        self._gzip.write(lines)

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file of the cluster's folder."""
        self.write(_line({"file": name, "data": base64.b64encode(content).decode()}))

    def write_large_file(self, name: str, file: IO[bytes]) -> None:
        """Write a file of the cluster's folder in parts, for `Reader`'s `keep_part`."""
        for part, content in enumerate(iter(lambda: file.read(PART_BYTES), b"")):
            self.write(_line({"file": name, "part": part, "data": base64.b64encode(content).decode()}))

    def finish(self) -> None:
        """Write the checksum, and all that is still in memory."""
        self._gzip.write(_line({"sha256": self._sum.hexdigest()}))
        self._gzip.close()


class Reader:
    """Reads a backup once, from its beginning; raises BadBackup at the first thing that does not fit.

    `header`, `files` and `revision` are there after construction. What `entries` yields counts only once it has ended.
    """

    def __init__(self, file: IO[bytes], keep_part: Callable[[str, bytes], None] | None = None) -> None:
        """Read up to the objects; `keep_part` is given the name of each large file and, in turn, its parts."""
        self._gzip = gzip.GzipFile(fileobj=file, mode="rb")
        self._sum = hashlib.sha256()
        self._number = 0
        self._parts: dict[str, int] = {}
        self.header = self._next()
        if self.header.get("format") != FORMAT:
            raise BadBackup("this is no backup of proa")
        if not isinstance(self.header.get("version"), int) or self.header["version"] > VERSION:
            raise BadBackup(
                f"this is a backup of version {self.header.get('version')}, and this proa knows up to {VERSION}: "
                "restore it with a newer proa"
            )
        self.files: dict[str, bytes] = {}
        line = self._next()
        while "file" in line:
            name = self._text(line, "file")
            if "part" not in line:
                self.files[name] = self._data(line)
            else:
                self._take_part(name, line, keep_part)
            line = self._next()
        start = line.get("start")
        if not isinstance(start, dict) or not isinstance(start.get("revision"), int):
            raise self._bad("the beginning of the objects is missing")
        self.revision: int = start["revision"]

    def _take_part(
        self, name: str, line: dict[str, Any], keep_part: Callable[[str, bytes], None] | None
    ) -> None:
        if line["part"] != self._parts.get(name, 0):
            raise self._bad("a part of a file is missing")
        self._parts[name] = line["part"] + 1
        if keep_part is not None:
            keep_part(name, self._data(line))

    def entries(self) -> Iterator[Entry]:
        """Yield each object as it is stored, and check at the end that none is missing."""
        count, last = 0, ""
        while "end" not in (line := self._next()):
            key, revision = self._text(line, "key"), line.get("revision")
            if not isinstance(revision, int) or not 0 < revision <= self.revision:
                raise self._bad("its revision is not one of this backup")
            if key <= last:
                raise self._bad("keys are not in order")
            value = self._text(line, "value").encode() if "value" in line else self._data(line)
            yield Entry(key, value, revision)
            count, last = count + 1, key
        if line["end"] != {"objects": count}:
            raise self._bad(f"there are {count} objects before it, and it says otherwise")
        computed = self._sum.hexdigest()
        if self._next().get("sha256") != computed:
            raise BadBackup("the checksum does not fit: the file has been changed or damaged")
        if self._read():
            raise BadBackup("something follows its end")

    def _next(self) -> dict[str, Any]:
        line = self._read()
        self._number += 1
        if not line.endswith(b"\n"):
            raise self._bad("the file ends here: it is not whole" if line else "the file ends before its end")
        try:
            content = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise self._bad("is no JSON") from None
        if not isinstance(content, dict):
            raise self._bad("is no line of a backup")
        self._sum.update(line)
        return content

    def _read(self) -> bytes:
        try:
            return self._gzip.readline(MAX_LINE_BYTES)
        except gzip.BadGzipFile:
            raise BadBackup(
                "this is no backup of proa, or it is damaged: its compression does not fit"
            ) from None
        except (EOFError, zlib.error):
            raise BadBackup("the file is damaged, or not whole") from None

    def _text(self, line: dict[str, Any], name: str) -> str:
        text = line.get(name)
        if not isinstance(text, str) or (not text and name not in ("value", "data")):
            raise self._bad(f"{name} is missing")
        return text

    def _data(self, line: dict[str, Any]) -> bytes:
        try:
            return base64.b64decode(self._text(line, "data"), validate=True)
        except ValueError:
            raise self._bad("data is no base64") from None

    def _bad(self, why: str) -> BadBackup:
        return BadBackup(f"line {self._number}: {why}")
