"""A stop signal is sent until it is heard, and no oftener."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from proa.node.noded.stop_signals import find_hearing, send

PID = 42
TERM = 1 << (signal.SIGTERM - 1)


def write_status(
    proc: Path, *, name: str = "sh", caught: int = 0, blocked: int = 0, ignored: int = 0, wchan: str = "0"
) -> None:
    folder = proc / str(PID)
    folder.mkdir(exist_ok=True)
    lines = {"Name": name, "SigQ": "4/96365", "SigPnd": f"{0:016x}", "SigBlk": f"{blocked:016x}"}
    lines |= {"SigIgn": f"{ignored:016x}", "SigCgt": f"{caught:016x}"}
    (folder / "status").write_text("".join(f"{name}:\t{value}\n" for name, value in lines.items()))
    (folder / "wchan").write_text(wchan)


class OneByOne:
    """A loop whose timers go off when they are told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Any]] = []

    def later(self, seconds: float, callback: Any) -> None:
        self.waiting.append((seconds, callback))

    def go_on(self) -> float:
        seconds, callback = self.waiting.pop()
        callback()
        return seconds


@pytest.mark.parametrize(
    ("state", "hearing"),
    [
        ({}, "lost"),
        ({"caught": TERM}, "sure"),
        ({"ignored": TERM}, "sure"),
        ({"blocked": TERM}, "kept"),
        ({"wchan": "do_sigtimedwait.isra.0"}, "kept"),
        ({"name": "runc:[2:INIT]", "caught": TERM, "ignored": TERM}, "lost"),
        ({"caught": TERM << 1, "blocked": TERM >> 1, "wchan": "do_wait"}, "lost"),
    ],
)
def test_who_handles_blocks_or_waits_for_a_signal_hears_it(tmp_path: Path, state: Any, hearing: str) -> None:
    write_status(tmp_path, **state)
    assert find_hearing(PID, signal.SIGTERM, str(tmp_path)) == hearing
    assert find_hearing(PID, signal.SIGKILL, str(tmp_path)) == "sure"
    assert find_hearing(PID + 1, signal.SIGTERM, str(tmp_path)) == "sure"  # it has ended


@pytest.mark.parametrize(
    ("states", "sent"),
    [
        ([{"caught": TERM}], 1),
        ([{}, {}, {"caught": TERM}], 3),
        ([{}, {"blocked": TERM}, {"blocked": TERM}], 2),
        ([{}, {"blocked": TERM}, {"wchan": "do_sigtimedwait"}], 2),
        ([{"blocked": TERM}, {}, {"caught": TERM}], 3),  # a shell forks, and then installs its handler
    ],
    ids=["a handler", "a late one", "who blocks it", "who waits for it", "a fork"],
)
def test_a_signal_is_sent_until_it_is_heard(tmp_path: Path, states: list[Any], sent: int) -> None:
    loop, told = OneByOne(), []
    for index, state in enumerate(states):
        write_status(tmp_path, **state)
        if index == 0:
            send(loop, lambda: PID, lambda: told.append(1), signal.SIGTERM, str(tmp_path))  # type: ignore[arg-type]
        else:
            loop.go_on()
    assert len(told) == sent
    assert loop.waiting == []


def test_it_looks_less_and_less_often_and_ends_with_the_container(tmp_path: Path) -> None:
    write_status(tmp_path)
    loop, told, pids = OneByOne(), [], [PID] * 12
    send(loop, lambda: pids.pop() if pids else 0, lambda: told.append(1), signal.SIGTERM, str(tmp_path))  # type: ignore[arg-type]
    waits = [loop.go_on() for _ in range(12)]
    assert waits[:3] == [0.005, 0.01, 0.02]
    assert waits[-1] == 0.5
    assert len(told) == 12
    assert loop.waiting == []
