from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proa.ml.tuning.collector import reading
from proa.ml.tuning.collector.event_records import masked_crc, scalars, shortest

Start = Callable[..., Any]

REAL = base64.b64decode(
    "GAAAAAAAAACjf0siCXyofNDSwNpBGg1icmFpbi5FdmVudDoy8eoDOhwAAAAAAAAAyMGVHQnYwHzQ0sDaQSoRCg8KCG"
    "FjY3VyYWN5FQAAAADRU9NEHgAAAAAAAADZ3BIyCWsdfdDSwNpBEAEqEQoPCghhY2N1cmFjeRXNzEw+AIO61h4AAAAA"
    "AAAA2dwSMgkrIH3Q0sDaQRACKhEKDwoIYWNjdXJhY3kVzczMPojCjeAeAAAAAAAAANncEjIJeiJ90NLA2kEQAyoRCg"
    "8KCGFjY3VyYWN5FZqZGT/4f+4+HgAAAAAAAADZ3BIyCX8kfdDSwNpBEAQqEQoPCghhY2N1cmFjeRXNzEw/vKyQrg=="
)
"""What tensorboardX 2.6 has written: accuracy 0, 0.2, 0.4, 0.6 and 0.8."""


def varint(number: int) -> bytes:
    text = b""
    while number > 0x7F:
        text, number = text + bytes([number & 0x7F | 0x80]), number >> 7
    return text + bytes([number])


def field(number: int, value: int | float | bytes, wire: int | None = None) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        wire = wire or 1
        return varint(number << 3 | wire) + struct.pack("<d" if wire == 1 else "<f", value)
    return varint(number << 3) + varint(value)


def make_event(tag: str, value: bytes, at: float = 5.0) -> bytes:
    """Return an Event with one summary value: its simple_value or its tensor field is given."""
    summary = field(1, field(1, tag.encode()) + value)
    return field(1, at) + field(2, 3) + field(5, summary)


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def tensor(dtype: int, *fields: bytes) -> bytes:
    return field(8, field(1, dtype) + b"".join(fields))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (field(2, 0.1, 5), "0.1"),
        (tensor(1, field(4, struct.pack("<f", 0.1))), "0.1"),
        (tensor(1, field(5, struct.pack("<f", 0.25))), "0.25"),
        (tensor(1, field(5, 0.5, 5)), "0.5"),
        (tensor(2, field(6, 0.1)), "0.1"),
        (tensor(3, field(7, 7)), "7"),
        (tensor(9, field(10, (1 << 64) - 2)), "-2"),
        (tensor(9, field(4, struct.pack("<q", -2))), "-2"),
        (tensor(19, field(13, 0x3800)), "0.5"),
        (tensor(14, field(13, 0x3F00)), "0.5"),
        (tensor(1, field(4, struct.pack("<ff", 1, 2))), ""),
        (tensor(7, field(8, b"text")), ""),
        (field(4, b"picture"), ""),
    ],
    ids=[
        *("simple", "float", "packed float", "lone float", "double", "int32", "int64", "int64 content"),
        *("half", "bfloat16", "two numbers", "text", "picture"),
    ],
)
def test_a_scalar_is_read_in_every_form_that_it_has(value: bytes, text: str) -> None:
    assert [found[1:] for found in scalars(make_event("a", value))] == ([("a", text)] if text else [])


def test_checksums_are_those_of_records() -> None:
    crc = 0xE3069283  # of "123456789", by RFC 3720
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert [shortest(struct.unpack("<f", struct.pack("<f", n))[0]) for n in (0.1, 1 / 3, 1e30)] == [
        *("0.1", "0.33333334", "1e+30"),
    ]


def values(report: reading.Report, metric: str = "accuracy") -> list[str]:
    return [point.value for point in report.points if point.metric == metric]


def test_files_of_a_real_writer_in_folders_below_are_read(start: Start, tmp_path: Path) -> None:
    for folder in ("train", "test"):
        (tmp_path / "events" / folder).mkdir(parents=True)
    (tmp_path / "events" / "test" / "events.out.tfevents.1.host").write_bytes(REAL)
    other = record(make_event("accuracy_1", field(2, 0.9, 5)))
    (tmp_path / "events" / "train" / "events.out.tfevents.2.host").write_bytes(other)
    asked = {
        "kind": "TensorFlowEvent",
        "path": tmp_path / "events",
        "metric": ["test/accuracy", "train/accuracy"],
    }
    report = start(**asked).end()
    assert values(report, "test/accuracy") == ["0", "0.2", "0.4", "0.6", "0.8"]
    assert values(report, "train/accuracy") == ["0.9"], "a tag begins with the metric's name"


def test_damaged_and_unfinished_files_do_no_harm(start: Start, tmp_path: Path) -> None:
    good = record(make_event("accuracy", field(2, 0.5, 5)))
    bad = bytearray(record(make_event("accuracy", field(2, 0.9, 5))))
    bad[20] ^= 1
    huge = record(make_event("accuracy", field(4, bytes(2_000_000))))
    files = {
        "unfinished": good + good[:-3],
        "damaged": good + bytes(bad),
        "huge": huge + good,
        "text": b"hello, world!",
    }
    (tmp_path / "events").mkdir()
    for name, content in files.items():
        (tmp_path / "events" / name).write_bytes(content)
    report = start(kind="TensorFlowEvent", path=tmp_path / "events").end()
    assert values(report) == ["0.5"] * 3


def test_a_folder_without_the_metric_is_told_with_what_is_there(start: Start, tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    program = start(kind="TensorFlowEvent", path=tmp_path / "events")
    assert "there are no event files below" in program.end().message
    (tmp_path / "events" / "e").write_bytes(record(make_event("Accuracy", field(2, 0.5, 5))))
    program = start(kind="TensorFlowEvent", path=tmp_path / "events")
    assert "Tags there: Accuracy." in program.end().message
