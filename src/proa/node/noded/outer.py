"""Climb as high as this machine lets us, fork noded into the namespaces that were made, write its pid, and end.

noded then begins again from a read-only view of its own interpreter. Until it reaches its program a container's
process is a fork of noded, so `#!/proc/self/exe` in a container means that very file: through noded's first mount of
it root inside could change it on the host (its mode, its owner, its bytes: CVE-2019-5736).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys

from proa.node.noded import ladder, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn


def main(argv: list[str]) -> NoReturn:
    """Start noded for the node directory argv[3]; with `proa-noded-probe`, only say what works here."""
    if argv[1] == "proa-noded-probe":
        print(json.dumps(ladder.probe()))
        sys.exit(0)
    directory, ready = argv[3], int(argv[4])
    os.chdir(directory)
    os.set_inheritable(ready, False)
    with open("noded.json", "rb") as file:
        settings = json.load(file)
    pid = -1
    neighbours = settings.get("neighbours") or []
    host_proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # noded mounts its own over it
    try:
        with _one_at_a_time(neighbours):
            level = ladder.climb(settings["level"], _find_neighbour(neighbours))
            pid = os.fork()
            if pid == 0:
                _become_noded(argv, level, ready)
            _write_pid([pid, os.getpid()] if level == "process" else [pid], host_proc)
    except BaseException as error:
        if pid > 0:
            os.kill(pid, signal.SIGKILL)
        _fail(ready, error)
        raise
    if level == "process":
        os.close(ready)
        ladder.guard(pid)
    os._exit(0)


@contextlib.contextmanager
def _one_at_a_time(neighbours: list[str]) -> Iterator[None]:
    """Let one node of a cluster climb after the other, so that the later ones find the first.

    The lock is held until noded has begun its program, which closes it: before, nobody may look at its namespaces.
    """
    if not neighbours:
        yield
        return
    folder = os.open(os.path.dirname(min(neighbours)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(folder)


def _find_neighbour(neighbours: list[str]) -> int | None:
    """Return the pid of a node among these directories that runs, None without any."""
    for directory in neighbours:
        with contextlib.suppress(OSError, ValueError), open(f"{directory}/noded.pid") as file:
            pid, started = file.readline().split()
            if linux.start_time(pid) == started:
                return int(pid)
    return None


def _become_noded(argv: list[str], level: str, ready: int) -> NoReturn:
    """Exec noded itself (process.py), where there is a mount namespace by way of a read-only mount."""
    try:
        if level == "process":
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        else:
            _cover_interpreter()
        os.set_inheritable(ready, True)
        os.execv(sys.executable, [sys.executable, "-I", "-S", *argv[:5], level])  # noqa: S606
    except BaseException as error:
        _fail(ready, error)
        raise
    finally:
        os._exit(1)


def _cover_interpreter() -> None:
    path = os.path.realpath("/proc/self/exe")
    tree = linux.clone_tree(path)
    linux.set_mount_attributes(tree, linux.MOUNT_ATTR_RDONLY, propagation=linux.MS_PRIVATE)
    target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    linux.attach_tree(tree, target)
    os.close(target)
    os.close(tree)


def uncover_interpreter() -> None:
    """Take the mount from its place again: the process that began from it still has its file there."""
    linux.umount(os.path.realpath("/proc/self/exe"))


def _write_pid(pids: list[int], host_proc: int) -> None:
    """Write a line for noded, and one for its guard where it has one: pid and start time."""
    with open("noded.pid.new", "w") as file:
        for pid in pids:
            file.write(f"{pid} {linux.start_time(pid, host_proc)}\n")
    os.rename("noded.pid.new", "noded.pid")


def _fail(ready: int, error: BaseException) -> None:
    os.write(ready, json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n")
