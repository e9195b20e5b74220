"""Become the container: what runs between fork and exec, in the child.

Every failure goes back through the channel, which closes on exec: an empty channel means that the program runs.
The order matters: control groups while their files are visible, namespaces, root file system, noded's descriptors
closed before any path of the container is looked up (a working folder /proc/self/fd/N leads out: CVE-2024-21626),
terminal, folder, user and capabilities, then exec. Words: runc (libcontainer/init_linux.go), Go's os/exec.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import termios

from proa.node.noded import linux, privileges, rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from proa.node.noded.cgroups import Cgroups
    from proa.node.noded.privileges import Identity
    from proa.node.noded.rootfs import HostImage, View

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OPEN_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)  # noded raises its own later
_TIOCGPTPEER, _TIOCSPTLCK = 0x5441, 0x40045431  # asm-generic/ioctls.h


class Process:
    """A program to run: its words, surroundings, streams and user."""

    __slots__ = (
        "apparmor",
        "argv",
        "env",
        "identity",
        "oom_score_adj",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "working_dir",
    )

    def __init__(
        self,
        argv: list[str],
        env: dict[str, str],
        working_dir: str,
        identity: Identity,
        *,
        tty: bool = False,
        streams: tuple[int, int, int] = (-1, -1, -1),
        oom_score_adj: int = 0,
        apparmor: str = "",
    ) -> None:
        self.argv, self.env, self.working_dir, self.identity = argv, env, working_dir, identity
        self.tty = tty
        self.stdin, self.stdout, self.stderr = streams
        self.oom_score_adj = oom_score_adj
        self.apparmor = apparmor


class Spawned:
    """A forked child that is not yet known to have reached its program."""

    __slots__ = ("channel", "pid")

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel


class StartFailure(Exception):
    """The program cannot be run; the words are for the user."""


def spawn(
    run: Callable[[socket.socket], None], *, in_new_pid_namespace: bool = False, own_pid_namespace: int = -1
) -> Spawned:
    """Fork a child that calls `run(channel)`, which ends in exec.

    It is born in the node's PID namespace (`own_pid_namespace`) or as the first one in a new PID namespace.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if in_new_pid_namespace:
        linux.unshare(linux.CLONE_NEWPID)
    pid = -1
    try:
        pid = os.fork()
    finally:
        if in_new_pid_namespace and pid != 0:
            linux.setns(own_pid_namespace, linux.CLONE_NEWPID)
    if pid == 0:
        _run(run, theirs)
    theirs.close()
    ours.setblocking(False)
    return Spawned(pid, ours)


def _run(run: Callable[[socket.socket], None], channel: socket.socket) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        for number in (
            signal.SIGPIPE,
            signal.SIGXFSZ,
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGCHLD,
        ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.umask(0o022)
        run(channel)
    except StartFailure as error:
        channel.send(json.dumps({"error": str(error)}).encode())
    except BaseException as error:
        channel.send(json.dumps({"error": f"{type(error).__name__}: {_words(error)}"}).encode())
    os._exit(128)


def run_container(
    process: Process,
    directory: str,
    image: HostImage,
    view: View,
    namespaces: dict[str, int],
    join: Callable[[], None],
    *,
    users: int,
    processes: int,
    has_groups: bool,
    target: int = 0,
) -> Callable[[socket.socket], None]:
    """Return what a container's first process does.

    `users` is the pod's own user namespace, `processes` a PID namespace that others are in already; -1 without one.
    `target` is the pid of the container whose /proc this one is to have too, 0 for none.
    """

    def run(channel: socket.socket) -> None:
        os.setsid()
        join()
        set_oom_score(process.oom_score_adj)
        null = leave_own_streams()
        for namespace in namespaces.values():
            linux.setns(namespace)
        if target:
            of_target = os.open(f"/proc/{target}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            view.proc_tree = linux.clone_tree_elsewhere(of_target, "/proc")
            os.close(of_target)
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWCGROUP)
        rootfs.enter(directory, image, view)
        become(
            process,
            channel,
            null,
            enter=users,
            processes=processes,
            first_id=view.first_id,
            has_groups=has_groups,
        )

    return run


def run_exec(
    process: Process,
    namespaces: dict[str, int],
    inside: dict[str, int],
    join: Callable[[], None],
    *,
    has_groups: bool,
) -> Callable[[socket.socket], None]:
    """Return what a further process in a running container does; `inside` are that container's own namespaces."""

    def run(channel: socket.socket) -> None:
        os.setsid()
        join()
        set_oom_score(process.oom_score_adj)
        null = leave_own_streams()
        for namespace in namespaces.values():
            linux.setns(namespace)
        linux.setns(inside["cgroup"], linux.CLONE_NEWCGROUP)
        linux.setns(inside["mnt"], linux.CLONE_NEWNS)
        users, processes = inside.get("user", -1), inside["pid"]
        become(process, channel, null, enter=users, processes=processes, has_groups=has_groups)

    return run


def leave_own_streams() -> int:
    """Let go of noded's log, and return a descriptor of the host's /dev/null: the container's own may be anything."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in range(3):
        os.dup2(null, number)
    return null


def become(
    process: Process,
    channel: socket.socket,
    null: int,
    *,
    enter: int = -1,
    processes: int = -1,
    first_id: int = 0,
    has_groups: bool,
) -> None:
    """Become the program, in the root that is there now; `enter` is a user namespace to join, whose 0 is `first_id`.

    `processes` is a PID namespace to join.
    """
    identity = process.identity
    streams = (process.stdin, process.stdout, process.stderr)
    linux.close_all_but({0, 1, 2, null, channel.fileno(), enter, processes, *streams})
    if processes >= 0:
        _be_among(processes, channel)
    _resolve(identity)
    set_streams(process, channel, null, first_id)
    channel.send(json.dumps({"user": identity.described}).encode())
    directory = process.working_dir or "/"
    if not os.path.isdir(directory):
        os.makedirs(directory, exist_ok=True)
        os.chown(directory, first_id, first_id)
    os.chdir(directory)
    process.env.setdefault("HOME", privileges.find_home(identity.uid))
    _confine(process.apparmor)
    privileges.assume(identity, enter=enter, has_groups=has_groups)
    execute(process.argv, process.env)


def _be_among(processes: int, channel: socket.socket) -> None:
    """Go on as a process of a PID namespace that others are in, and as noded's child; say the pid.

    Only now, when nothing of the node is in reach any more (root, descriptors): somebody there may trace others
    (SYS_PTRACE), and sees this process from here on.
    """
    linux.setns(processes, linux.CLONE_NEWPID)
    os.close(processes)
    pid = linux.fork_sibling()
    if pid:
        channel.send(json.dumps({"pid": pid}).encode())
        os._exit(0)
    os.setsid()


def _resolve(identity: Identity) -> None:
    try:
        identity.resolve()
    except privileges.UnknownUser as error:
        raise StartFailure(f"unable to start container process: {error}") from error


def execute(argv: list[str], env: dict[str, str]) -> NoReturn:
    """Exec the program, found on its own PATH; raise StartFailure in runc's words."""
    resource.setrlimit(resource.RLIMIT_NOFILE, OPEN_FILES)
    name = argv[0]
    candidates = [name] if "/" in name else [f"{d or '.'}/{name}" for d in env.get("PATH", "").split(":")]
    denied = False
    for path in candidates:
        if "/" not in name and os.path.isdir(path):
            continue
        try:
            os.execve(path, argv, env)  # noqa: S606
        except OSError as error:
            if error.errno == errno.EACCES:
                denied = True
                continue
            if error.errno in (errno.ENOENT, errno.ENOTDIR) and "/" not in name:
                continue
            raise StartFailure(_exec_words(name, error)) from error
    if denied:
        raise StartFailure(f"unable to start container process: exec: {_quote(name)}: permission denied")
    raise StartFailure(
        f"unable to start container process: exec: {_quote(name)}: executable file not found in $PATH"
    )


def _exec_words(name: str, error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and not os.path.exists(name):
        return (
            f"unable to start container process: exec: {_quote(name)}: stat {name}: "
            f"{os.strerror(error.errno or 0).lower()}"
        )
    return f"unable to start container process: exec {name}: {os.strerror(error.errno or 0).lower()}"


def set_streams(process: Process, channel: socket.socket, null: int, first_id: int = 0) -> None:
    """Make the terminal, or the pipes (`null` where there is none), the standard streams.

    They belong to the program's user, whose id counts from `first_id`.
    """
    if process.tty:
        master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        socket.send_fds(channel, [b'{"terminal":true}'], [master])
        os.close(master)
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        streams = [slave] * 3
    else:
        streams = [null if fd < 0 else fd for fd in (process.stdin, process.stdout, process.stderr)]
    for number, fd in enumerate(streams):
        os.dup2(fd, number, inheritable=True)
        if process.tty or fd in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(PermissionError, OSError):  # a uid that is not mapped here
                os.fchown(number, first_id + process.identity.uid, -1)


def _confine(profile: str) -> None:
    """Have the program run under an AppArmor profile (localhost/NAME or unconfined) once it is executed."""
    name = profile.removeprefix("localhost/")
    if not name:
        return
    try:
        with open("/proc/self/attr/apparmor/exec", "w") as file:
            file.write(f"exec {name}")
    except OSError as error:
        raise StartFailure(
            f"unable to apply apparmor profile: apparmor failed to apply profile: {error.strerror}"
        ) from error


def set_oom_score(value: int) -> None:
    """Without CAP_SYS_RESOURCE (a user namespace, many a sandbox) it may only rise: left as it is (KEP-2033)."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(value))
    except PermissionError:
        return


def _quote(text: str) -> str:
    return json.dumps(text)


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    return str(error)


def read_channel(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return the child's next message and its descriptors; None when the program runs. May raise BlockingIOError."""
    data, fds, _, _ = socket.recv_fds(channel, 65536, 1)
    return (json.loads(data) if data else None), fds


def joiner(cgroups: Cgroups, path: str) -> Callable[[], None]:
    """Return what puts a process into its control groups."""
    return lambda: cgroups.join(path)
