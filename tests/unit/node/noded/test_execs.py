"""Whoever asked for a process in a container hears of its end, in whatever order its parts end."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest

from proa.node.noded import child
from proa.node.noded.early_ends import EarlyEnds
from proa.node.noded.execs import Execs


class OneLoop:
    """A loop that the test turns by hand."""

    def __init__(self) -> None:
        self.watched: dict[int, Any] = {}
        self.due: list[Any] = []

    def watch(self, fd: int, events: int, callback: Any) -> None:
        self.watched[fd] = callback

    def forget(self, fd: int) -> None:
        del self.watched[fd]

    def later(self, seconds: float, callback: Any) -> None:
        self.due.append(callback)

    def turn(self) -> None:
        for callback in [*self.watched.values()]:
            callback(1)
        while self.due:
            self.due.pop(0)()


class Told:
    """What the client hears."""

    connection = None

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def send(self, result: Any, fds: list[int]) -> None:
        self.messages.append("runs")

    def push(self, event: Any) -> None:
        self.messages.append(event["exit_code"])

    def fail(self, reason: str, message: str) -> None:
        self.messages.append(message)


STARTER, PROGRAM = 4_194_301, 4_194_302  # above any pid that a process may have


@pytest.mark.parametrize(
    "order",
    [
        ["pid is told", "starter ends", "channel closes", "loop turns", "program ends"],
        [
            "pid is told",
            "loop turns",
            "program ends",
            "loop turns",
            "starter ends",
            "channel closes",
            "loop turns",
        ],
        ["pid is told", "program ends", "loop turns", "starter ends", "channel closes", "loop turns"],
        ["program ends", "pid is told", "loop turns", "channel closes", "loop turns", "starter ends"],
        ["program ends", "pid is told", "channel closes", "starter ends", "loop turns"],
    ],
    ids=[
        "program last",
        "program before its starter",
        "at once",
        "before its pid is known",
        "all before a turn",
    ],
)
def test_the_exit_code_is_told_once_after_the_streams(order: list[str]) -> None:
    loop, told = OneLoop(), Told()
    early_ends = EarlyEnds(loop)  # type: ignore[arg-type]
    execs = Execs(loop, early_ends)  # type: ignore[arg-type]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    execs.follow("exec-1", "c", child.Spawned(STARTER, ours), told, [])  # type: ignore[arg-type]

    def end(pid: int, exit_code: int) -> None:
        if not execs.on_child(pid, exit_code << 8):
            early_ends.note(pid, exit_code << 8)

    for step in order:
        match step:
            case "pid is told":
                theirs.send(json.dumps({"pid": PROGRAM}).encode())
            case "program ends":
                end(PROGRAM, 7)
            case "starter ends":
                end(STARTER, 0)
            case "channel closes":
                theirs.close()
            case "loop turns":
                loop.turn()
    assert told.messages == ["runs", 7]
    assert not loop.watched
    assert not os.path.exists(f"/proc/{PROGRAM}")
