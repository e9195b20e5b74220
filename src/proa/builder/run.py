"""Run one step's program in its stage's root, and wait for it: nothing of it is left when this returns.

It is PID 1 of a PID namespace, with Docker's default capabilities and the default seccomp filter, as a container is;
its network is the host's unless the step wants none. What it prints is handed on as it comes.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

from proa.builder import pretend_owners, step_root
from proa.node.noded import child, linux
from proa.node.noded.privileges import Identity

_HOSTNAME = "proa-build"
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Program:
    """What a step runs, where and as whom (USER: names and groups are those of the stage's own files)."""

    argv: list[str]
    env: dict[str, str]
    working_directory: str
    user: str
    has_network: bool = True


class CannotStart(Exception):
    """The program could not be run at all; the words are for the user."""


def run(
    program: Program,
    root: str,
    shown: list[step_root.Shown],
    own_pid_namespace: int,
    tell: Callable[[bytes], None],
    *,
    single_uid: bool,
) -> int:
    """Return the program's exit code (128 and the signal's number where it was killed); raise CannotStart."""
    identity = Identity({"username": program.user}, single_uid=single_uid)
    output, written = os.pipe()
    process = child.Process(
        program.argv, dict(program.env), program.working_directory, identity, streams=(-1, written, written)
    )
    begin = _make_begin(process, root, shown, has_network=program.has_network, single_uid=single_uid)
    spawned = child.spawn(begin, in_new_pid_namespace=True, own_pid_namespace=own_pid_namespace)
    os.close(written)
    try:
        while piece := os.read(output, _PIECE):
            tell(piece)
        _, status = os.waitpid(spawned.pid, 0)
        refusal = _read_refusal(spawned)
    except BaseException:
        os.kill(spawned.pid, signal.SIGKILL)
        os.waitpid(spawned.pid, 0)
        raise
    finally:
        os.close(output)
        spawned.channel.close()
    if refusal:
        raise CannotStart(refusal)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _read_refusal(spawned: child.Spawned) -> str:
    """Return why the program was not reached, "" when it was."""
    while True:
        message, _ = child.read_channel(spawned.channel)
        if message is None or "error" in message:
            return str(message["error"]) if message else ""


def _make_begin(
    process: child.Process, root: str, shown: list[step_root.Shown], *, has_network: bool, single_uid: bool
) -> Callable[[socket.socket], None]:
    def begin(channel: socket.socket) -> None:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        spaces = linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP
        linux.unshare(spaces | (0 if has_network else linux.CLONE_NEWNET))
        socket.sethostname(_HOSTNAME)
        step_root.enter(root, shown)
        if single_uid:
            pretend_owners.install()
        child.become(process, channel, null, has_groups=not single_uid)

    return begin
