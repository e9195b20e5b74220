"""Hold a pod's process namespace open, and reap what its containers leave behind (shareProcessNamespace).

It is PID 1 there, as upstream's pause container is: a fork of noded that can do nothing. Its root is an empty folder,
it has no capability, no descriptor, a uid of its own where there are several, and a filter: tracing it gains nothing.
"""

from __future__ import annotations

import os
import signal
import socket

from proa.node.noded import child, linux, privileges
from proa.node.noded.privileges import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

UID = 65535  # as upstream's pause
_SECURITY = {"drop_capabilities": ["ALL"], "allow_privilege_escalation": False}


def start(own_pid_namespace: int, folder: str, proc: str, *, single_uid: bool) -> int:
    """Start a holder in a new PID namespace and return its pid, once it is there. `folder` is any on the node.

    The namespace's /proc is then at `proc`: made while nobody else was in it.
    """
    identity = Identity(_SECURITY, single_uid=single_uid)
    if not single_uid:
        identity.uid = identity.gid = UID

    def run(channel: socket.socket) -> None:
        os.setsid()
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        linux.mount("proc", proc, "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        tree = linux.clone_tree(proc)
        socket.send_fds(channel, [b'{"proc":true}'], [tree])
        linux.mount("tmpfs", folder, "tmpfs", linux.MS_RDONLY | linux.MS_NODEV | linux.MS_NOSUID, "size=4k")
        os.chdir(folder)
        linux.pivot_root_here()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then reaps what is left to us
        linux.name_process("pause")
        linux.close_all_but({channel.fileno()})
        privileges.assume(identity, has_groups=not single_uid)
        channel.close()
        _hold()

    spawned = child.spawn(run, in_new_pid_namespace=True, own_pid_namespace=own_pid_namespace)
    spawned.channel.setblocking(True)
    try:
        message, fds = child.read_channel(spawned.channel)
        if message is None or not fds:
            raise OSError(f"the pod's PID namespace cannot be held: {message and message.get('error')}")
        _attach(fds[0], proc)
        message, _ = child.read_channel(spawned.channel)
    finally:
        spawned.channel.close()
    if message is not None:
        raise OSError(message["error"])
    return spawned.pid


def _attach(tree: int, folder: str) -> None:
    target = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    linux.attach_tree(tree, target)
    os.close(target)
    os.close(tree)


def _hold() -> NoReturn:
    while True:
        signal.pause()
