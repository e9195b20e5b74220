"""Reading container logs as `kubectl logs` asks for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proa.client.kubelet_api import LogOptions
from proa.node.log_reader import find_tail, last_lines, parse_line, read_log

T0, T1, T2 = (f"2026-01-02T03:04:0{n}.000000001Z" for n in range(3))
NOW = 1767323050.0  # 2026-01-02T03:04:10Z
THREE = f"{T0} stdout F one\n{T1} stderr F two\n{T2} stdout F three\n"


async def collect(path: Path, options: LogOptions, exited: asyncio.Event | None = None) -> bytes:
    async def wait() -> None:
        if exited is not None:
            await exited.wait()

    is_running = (lambda: not exited.is_set()) if exited is not None else (lambda: False)
    return b"".join([chunk async for chunk in read_log(path, options, NOW, is_running, wait)])


def read(path: Path, **options: object) -> str:
    return asyncio.run(collect(path, LogOptions(**options))).decode()  # type: ignore[arg-type]


CASES = [
    ("everything", {}, "one\ntwo\nthree\n"),
    ("timestamps", {"timestamps": True}, f"{T0} one\n{T1} two\n{T2} three\n"),
    ("the last line", {"tail_lines": 1}, "three\n"),
    ("the last two", {"tail_lines": 2}, "two\nthree\n"),
    ("more than there are", {"tail_lines": 9}, "one\ntwo\nthree\n"),
    ("no lines", {"tail_lines": 0}, ""),
    ("bytes", {"limit_bytes": 5}, "one\nt"),
    ("since a time", {"since_time": "2026-01-02T03:04:01Z"}, "two\nthree\n"),
    ("since seconds", {"since_seconds": 8}, "three\n"),
    ("tail and bytes", {"tail_lines": 2, "limit_bytes": 4}, "two\n"),
]


@pytest.mark.parametrize(("options", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_log_is_read_as_asked(tmp_path: Path, options: dict[str, object], expected: str) -> None:
    path = tmp_path / "0.log"
    path.write_text(THREE)

    assert read(path, **options) == expected


def test_parts_of_a_line_are_joined_with_one_time(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_text(f"{T0} stdout P hel\n{T1} stdout P lo \n{T2} stdout F world\n")

    assert read(path) == "hello world\n"
    assert read(path, timestamps=True) == f"{T0} hello world\n"


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "0.log") == ""


def test_bytes_that_are_not_text_survive(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(T0.encode() + b" stdout F \xff\x00\xe2\n")

    assert asyncio.run(collect(path, LogOptions())) == b"\xff\x00\xe2\n"


@pytest.mark.parametrize("raw", [b"", b"nonsense", b"2026 other F x"])
def test_what_is_not_a_log_line_is_left_out(raw: bytes) -> None:
    assert parse_line(raw) is None


def test_an_empty_line_is_a_newline() -> None:
    line = parse_line(T0.encode() + b" stdout F ")
    assert line is not None
    assert line.content == b"\n"


def test_a_follower_sees_what_comes_and_ends_with_the_container(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "0.log"
        path.write_text(f"{T0} stdout F one\n")
        exited = asyncio.Event()
        seen: list[bytes] = []

        async def follow() -> None:
            async for chunk in read_log(
                path, LogOptions(follow=True), NOW, lambda: not exited.is_set(), lambda: wait(exited)
            ):
                seen.append(chunk)

        task = asyncio.create_task(follow())
        await until(lambda: seen == [b"one\n"])
        with path.open("a") as file:
            file.write(f"{T1} stdout F two\n{T2} stdout F thr")
        await until(lambda: b"".join(seen) == b"one\ntwo\n")
        with path.open("a") as file:
            file.write("ee\n")
        await until(lambda: b"".join(seen) == b"one\ntwo\nthree\n")
        exited.set()
        await asyncio.wait_for(task, 60)

    asyncio.run(main())


def test_a_follower_goes_on_after_a_rotation(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "0.log"
        path.write_text(f"{T0} stdout F one\n")
        exited = asyncio.Event()
        task = asyncio.create_task(collect(path, LogOptions(follow=True), exited))
        await asyncio.sleep(0)
        with path.open("a") as file:
            file.write(f"{T1} stdout F two\n")
        path.rename(tmp_path / "0.log.20260102-030405")
        (tmp_path / "0.log.20260102-030405.001").write_text(f"{T2} stdout F three\n")
        path.write_text(f"{T2} stdout F four\n")
        exited.set()

        assert await asyncio.wait_for(task, 60) == b"one\ntwo\nthree\nfour\n"

    asyncio.run(main())


def test_a_follower_that_leaves_lets_go_of_everything(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "0.log"
        path.write_text(THREE)
        exited = asyncio.Event()
        log = read_log(path, LogOptions(follow=True), NOW, lambda: True, lambda: wait(exited))
        assert await anext(log) == b"one\ntwo\nthree\n"
        await log.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


def test_the_tail_of_a_long_log_is_found_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    lines = [f"{T0} stdout F {'x' * 100} {n}\n" for n in range(3000)]
    path.write_text("".join(lines))
    with path.open("rb") as file:
        assert find_tail(file, 1000) == sum(len(line) for line in lines[:2000])
    assert last_lines(path, 2).decode() == f"{'x' * 100} 2998\n{'x' * 100} 2999\n"


async def wait(exited: asyncio.Event) -> None:
    await exited.wait()


async def until(condition: object) -> None:
    async with asyncio.timeout(60):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.001)
