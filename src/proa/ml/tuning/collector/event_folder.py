"""Metrics in the event files of a folder and all below it, as they grow.

A metric "accuracy" is any scalar whose tag begins so; "train/accuracy" is that in folders whose path ends in "train".
Source: pkg/metricscollector/v1beta1/tfevent-metricscollector/tfevent_loader.py of kubeflow/katib.
"""

from __future__ import annotations

import os

from proa.ml.tuning.collector.event_records import (
    FOOTER_BYTES,
    HEADER_BYTES,
    MAX_RECORD,
    Damaged,
    is_intact,
    scalars,
    split_record,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from proa.ml.tuning.collector.points import Points

MAX_FILES = 1000
MAX_NAMES = 8
BLOCK_BYTES = 1024 * 1024


class EventFolder:
    """The event files below a folder."""

    def __init__(self, path: str, points: Points) -> None:
        self._path = path
        self._points = points
        self._files: dict[str, _EventFile] = {}
        self._wanted = [(m, m.rpartition("/")[2], os.path.dirname(m)) for m in points.metrics]
        self.other_tags: dict[str, None] = {}

    def poll(self) -> bool:
        """Read what is new; tell whether there was anything."""
        has_read = False
        for path in self._find():
            if path not in self._files:
                if len(self._files) >= MAX_FILES:
                    continue
                self._files[path] = _EventFile(path)
            for event in self._files[path].read(self._is_wanted):
                has_read = True
                self._take(path, event)
        return has_read

    @property
    def files(self) -> list[str]:
        """Return the paths of the files that are event files."""
        return [path for path, file in self._files.items() if not file.is_damaged]

    @property
    def damaged(self) -> list[str]:
        """Return the paths of the files that are none, or are damaged."""
        return [path for path, file in self._files.items() if file.is_damaged]

    def _find(self) -> Iterator[str]:
        for folder, _, names in os.walk(self._path):
            for name in sorted(names):
                yield os.path.join(folder, name)

    def _is_wanted(self, event: bytes) -> bool:
        return len(self.other_tags) < MAX_NAMES or any(tag.encode() in event for _, tag, _ in self._wanted)

    def _take(self, path: str, event: bytes) -> None:
        for at, tag, value in scalars(event):
            is_found = False
            for metric, name, folder in self._wanted:
                if tag.startswith(name) and os.path.dirname(path).endswith(folder):
                    self._points.add(metric, value, at)
                    is_found = True
            if not is_found and len(self.other_tags) < MAX_NAMES:
                self.other_tags[tag[:60]] = None


class _EventFile:
    """One file: how far it was read. One that is damaged is read no further."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        self.is_damaged = False

    def read(self, is_wanted: object) -> Iterator[bytes]:
        """Yield the records that have come since, of those that may be wanted."""
        assert callable(is_wanted)
        if self.is_damaged:
            return
        try:
            with open(self._path, "rb", opener=_open) as file:
                while block := self._next_block(file.fileno()):
                    yield from self._records(block, is_wanted)
        except OSError:
            return  # it is looked at again
        except Damaged:
            self.is_damaged = True

    def _next_block(self, fd: int) -> bytes:
        """Return what comes next, from the beginning of a record on; b"" when no whole record has come."""
        block = os.pread(fd, BLOCK_BYTES, self._offset)
        bounds = split_record(block, 0)
        if bounds is None:
            return b""
        whole = bounds[1] + FOOTER_BYTES
        if whole <= len(block):
            return block
        if os.fstat(fd).st_size < self._offset + whole:
            return b""
        self._offset += whole  # longer than a block: passed over
        return self._next_block(fd)

    def _records(self, block: bytes, is_wanted: object) -> Iterator[bytes]:
        assert callable(is_wanted)
        start = 0
        while (bounds := split_record(block, start)) is not None and bounds[1] + FOOTER_BYTES <= len(block):
            begin, end = bounds
            start = end + FOOTER_BYTES
            self._offset += start - begin + HEADER_BYTES
            record = block[begin:end]
            if len(record) > MAX_RECORD or not is_wanted(record):
                continue
            if not is_intact(record, block[end:start]):
                raise Damaged("a record is damaged")
            yield record


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
