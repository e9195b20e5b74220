"""Bring each process added to a container to its end: hand over its streams, tell its exit code, kill it when asked.

A client hears first that the program runs, with the descriptors of its streams, and then, as an event on the same
connection, its exit code.
"""

from __future__ import annotations

import os
import signal

from proa.node.noded import child
from proa.node.noded.descriptors import close_all
from proa.node.noded.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from proa.node.noded.early_ends import EarlyEnds
    from proa.node.noded.loop import Loop
    from proa.node.noded.server import Connection, Reply


class _Exec:
    """One process, and the connection that waits for its end."""

    __slots__ = ("answered", "channel", "container", "held", "identifier", "pid", "reply", "status")

    def __init__(
        self, identifier: str, container: str, spawned: child.Spawned, reply: Reply, held: list[int]
    ) -> None:
        self.identifier, self.container, self.pid, self.reply = identifier, container, spawned.pid, reply
        self.channel: socket.socket | None = spawned.channel
        self.held = held
        self.answered = False
        self.status: int | None = None


class Execs:
    """The processes that run beside their container's first one."""

    def __init__(self, loop: Loop, early_ends: EarlyEnds) -> None:
        self._loop = loop
        self._early_ends = early_ends
        self._by_pid: dict[int, _Exec] = {}

    def follow(
        self, identifier: str, container: str, spawned: child.Spawned, reply: Reply, held: list[int]
    ) -> None:
        """Answer `reply` when the process has reached its program; `held` are our ends of its streams."""
        running = _Exec(identifier, container, spawned, reply, held)
        self._by_pid[spawned.pid] = running
        self._loop.watch(spawned.channel.fileno(), READ, lambda _: self._on_channel(running))

    def pids_of(self, container: str) -> list[int]:
        """Return the processes that run beside a container's first one."""
        return [running.pid for running in self._by_pid.values() if running.container == container]

    def on_child(self, pid: int, status: int) -> bool:
        """Take in that a child has ended; return whether it is one of these."""
        ended = self._by_pid.get(pid)
        if ended is None:
            return False
        for _ in range(3):  # what the child said last is read before its end is told
            self._on_channel(ended)
        if ended.pid == pid:
            del self._by_pid[pid]
            ended.status = status
            self._tell_exit_code(ended)
        return True

    def _follow_another(self, running: _Exec, pid: int) -> None:
        """The process asked for is not the child that we forked, but one that it has started."""
        del self._by_pid[running.pid]
        running.pid = pid
        self._by_pid[pid] = running
        self._early_ends.settle(pid, self._on_early_end)

    def _on_early_end(self, pid: int, status: int) -> None:
        self.on_child(pid, status)

    def kill(self, identifier: str, connection: Connection) -> None:
        """Kill one of a connection's that still runs."""
        for running in self._by_pid.values():
            if running.identifier == identifier and running.reply.connection is connection:
                os.kill(running.pid, signal.SIGKILL)

    def kill_all_of(self, connection: Connection) -> None:
        """Kill what nobody waits for any more."""
        for running in self._by_pid.values():
            if running.reply.connection is connection:
                os.kill(running.pid, signal.SIGKILL)

    def _on_channel(self, running: _Exec) -> None:
        if running.channel is None:
            return
        try:
            message, fds = child.read_channel(running.channel)
        except BlockingIOError:
            return
        if message is not None and fds:
            running.held += fds
            return
        if message is not None and "error" not in message:
            if "pid" in message:
                self._follow_another(running, message["pid"])
            self._on_channel(running)
            return
        self._loop.forget(running.channel.fileno())
        running.channel.close()
        running.channel = None
        if message is None:
            running.answered = True
            running.reply.send({}, running.held)
            self._tell_exit_code(running)  # it may have ended while whoever started it still had the channel
            return
        running.reply.fail("ExecError", f"failed to exec in container: {message['error']}")
        close_all(*running.held)

    def _tell_exit_code(self, running: _Exec) -> None:
        """Tell it after the streams were handed over."""
        if running.answered and running.status is not None:
            code = os.waitstatus_to_exitcode(running.status)
            running.reply.push({"exec": running.identifier, "exit_code": 128 - code if code < 0 else code})
