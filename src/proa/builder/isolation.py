"""Build in namespaces of its own: mounts, processes and (not as root) users, which end with the build however it ends.

`proa build` forks a child that enters them and forks again: that grandchild is PID 1 there, builds, and when it ends
the kernel ends every process below it and lets go of every mount. Where we are not root the user namespace is the one
that noded's containers have (images/user_namespace.py), so owners of files mean the same there. The network stays the
host's: steps fetch packages, and registries on loopback are reached.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Literal

from proa.images.user_namespace import enter_users, has_many_users, is_inside
from proa.node.noded import ladder, linux

Level = Literal["root", "rootless-subids", "rootless"]
_NAMESPACES = linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
INTERRUPTED = 130


class NotIsolated(Exception):
    """This machine does not let us make namespaces; the words say what would."""


def run_inside(build: Callable[[Level], int]) -> int:
    """Return what `build` returns, run in namespaces of its own."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        _enter_and_build(build, told)
    os.close(told)
    with os.fdopen(ready, "rb") as file, _passed_on(child):
        refusal = file.read()
        _, status = os.waitpid(child, 0)
    if refusal:
        raise NotIsolated(refusal.decode())
    code = os.waitstatus_to_exitcode(status)
    return INTERRUPTED if code in (-signal.SIGINT, -signal.SIGKILL) else code


@contextlib.contextmanager
def _passed_on(child: int) -> Iterator[None]:
    """Leave an interrupt to the build, which tidies up; the second one, or SIGTERM, ends it at once."""
    seen = 0

    def interrupt(number: int, _: object) -> None:
        nonlocal seen
        seen += 1
        if number == signal.SIGTERM or seen > 1:
            os.kill(child, signal.SIGKILL)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _enter_and_build(build: Callable[[Level], int], told: int) -> None:
    """In the child: enter the namespaces, fork the build, and end as it does."""
    try:
        starter = os.getppid()
        level = _enter()
        _end_with(starter)
    except BaseException as error:
        os.write(told, str(error).encode()[:4000])
        os._exit(1)
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _become_first(build, level)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.close(told)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else INTERRUPTED)


def _enter() -> Level:
    level = _enter_users()
    try:
        linux.unshare(_NAMESPACES)
        linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    except OSError as error:
        raise NotIsolated(f"namespaces are refused ({error.strerror}): `proa doctor` says more") from error
    return level


def _enter_users() -> Level:
    """Be root: that of the machine, that of the user namespace that we are in, or that of a new one."""
    if os.geteuid() == 0 and _may_make_namespaces():
        if not is_inside():
            return "root"
        return "rootless-subids" if has_many_users() else "rootless"
    try:
        return "rootless-subids" if enter_users() else "rootless"
    except OSError as error:
        raise NotIsolated(ladder.user_namespace_mend(error)) from error


def _may_make_namespaces() -> bool:
    """Tell whether root is really root here, and not that of somebody's container without CAP_SYS_ADMIN."""
    return bool(linux.permitted_capabilities() >> 21 & 1)


def _end_with(starter: int) -> None:
    """Be killed when whoever started us ends."""
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != starter:
        raise NotIsolated("interrupted")


def _become_first(build: Callable[[Level], int], level: Level) -> None:
    """As PID 1 of the new namespace: build, and end."""
    code = 1
    try:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.umask(0o022)
        code = build(level)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
