"""Have an OCI runtime of others (runc, crun) start a pod's containers: the same pods, another program's isolation.

Theory of operation. A *starter*, a fork of noded, enters a mount namespace of its own, lays the image's files and the
pod's mounts (rootfs.lay), writes config.json and runs `create` and `start`. The container's first process is then an
orphan, and so noded's child, for noded is PID 1: noded has its exit code, as for its own. The starter says its pid
over the channel (child.py) and ends; with it goes all that it had mounted but what the container holds. An exec is
started the same way. What the program keeps of a container is a folder, and groups at noded's own paths: noded
removes both.
"""

from __future__ import annotations

import json
import os
import socket
import stat

from proa.node.noded import child, linux, oci_spec, rootfs
from proa.node.noded.privileges import UnknownUser
from proa.node.noded.records import remove_tree
from proa.node.noded.seccomp_default import default_profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from proa.node.runtimes.native import NativeRuntime

    Record = dict[str, Any]

PROGRAMS = ("runc", "crun")
_TYPES = {"net": "network", "ipc": "ipc", "uts": "uts", "pid": "pid"}
_HYBRID = "/sys/fs/cgroup/unified"
_WORDS = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class OciContainers:
    """The handler of an OCI runtime's program."""

    def __init__(self, node: NativeRuntime, name: str, program: str, state: str) -> None:
        self._node = node
        self._name = name
        self._program = program
        self._root = f"{state}/oci/{name}"
        self.abilities = {"recursiveReadOnlyMounts": False, "userNamespaces": False}

    def start(
        self, record: Record, sandbox: Record, process: child.Process, beside: Record | None
    ) -> child.Spawned:
        """Fork the starter of a container."""
        node, directory = self._node, self._node.root_folder(record)
        view, namespaces = node.view(record, sandbox), self._namespaces(sandbox, beside)
        cgroup = f"/{node.cgroups.name}/{node.cgroup(record, sandbox)}"

        def run(channel: socket.socket) -> None:
            _refuse_kernel_places(view)
            self._enter()
            root, staged = rootfs.lay(directory, node.image, view)
            _resolve(process, root)
            devices = [_device(m) for m in view.mounts if m.get("is_device")]
            if view.privileged:
                devices += [_device({"host_path": f"/dev/{name}"}) for name in rootfs.host_devices()]
            spec = oci_spec.make_spec(
                process,
                view,
                namespaces,
                root=f"{directory}/root",
                staged=staged,
                cgroup=cgroup,
                resources=record["config"]["resources"],
                devices=devices,
                seccomp=_seccomp(record["config"]["security"], process),
                open_files=child.OPEN_FILES,
                available=linux.permitted_capabilities(),
            )
            _write(f"{directory}/config.json", spec)
            words = ["--bundle", directory]
            self._run_detached(channel, process, directory, ["create", *words], record["id"])
            self._call(directory, ["start", record["id"]], (-1, -1, -1))
            os._exit(0)

        return child.spawn(run)

    def exec(self, record: Record, sandbox: Record, process: child.Process) -> child.Spawned:
        """Fork the starter of another process in a running container."""
        directory = f"{self._node.root_folder(record)}/exec-{os.urandom(8).hex()}"

        def run(channel: socket.socket) -> None:
            self._enter()
            os.mkdir(directory)
            root = os.open(f"/proc/{record['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            _resolve(process, root)
            available = linux.permitted_capabilities()
            told = oci_spec.make_process(process, child.OPEN_FILES, available)
            _write(f"{directory}/process.json", told)
            words = ["exec", "--detach", "--process", f"{directory}/process.json"]
            self._run_detached(channel, process, directory, words, record["id"])
            remove_tree(directory)
            os._exit(0)

        return child.spawn(run)

    def ended(self, record: Record, sandbox: Record) -> None:
        """Kill what a failed start left, and forget what the program kept."""
        self._node.cgroups.kill(self._node.cgroup(record, sandbox))
        remove_tree(f"{self._root}/{record['id']}")

    def _namespaces(self, sandbox: Record, beside: Record | None) -> dict[str, str]:
        held = self._node.namespaces(sandbox)
        found = {_TYPES[name]: f"/proc/{os.getpid()}/fd/{fd}" for name, fd in held.items() if name in _TYPES}
        if beside is not None:
            found["pid"] = f"/proc/{beside['pid']}/ns/pid"
        elif not sandbox["config"]["host_pid"]:
            found.setdefault("pid", "")
        return {**found, "mount": "", "cgroup": ""}

    def _enter(self) -> None:
        """Leave noded's mounts alone from here on; crun refuses hybrid control groups, so it sees the v1 ones only."""
        linux.unshare(linux.CLONE_NEWNS)
        if self._name == "crun" and os.path.ismount(_HYBRID):
            linux.mount("", "/sys", "", linux.MS_REC | linux.MS_PRIVATE)
            linux.umount(_HYBRID)

    def _run_detached(
        self,
        channel: socket.socket,
        process: child.Process,
        directory: str,
        words: list[str],
        identifier: str,
    ) -> None:
        """Run a command that leaves a process behind, and say which, with its terminal if it has one."""
        words = [*words, "--pid-file", f"{directory}/pid"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            if process.tty:
                os.chdir(directory)  # a socket's path must be short, for the program too
                console.bind("console")
                console.listen(1)
                words += ["--console-socket", "console"]
            streams = (-1, -1, -1) if process.tty else (process.stdin, process.stdout, process.stderr)
            self._call(directory, [*words, identifier], streams)
            if process.tty:
                _hand_over_terminal(console, channel)
        with open(f"{directory}/pid") as file:
            pid = int(file.read())
        channel.send(json.dumps({"pid": pid, "user": process.identity.described}).encode())

    def _call(self, directory: str, words: list[str], streams: tuple[int, int, int]) -> None:
        """Run the program with a container's streams; raise StartFailure with what it says."""
        log = f"{directory}/runtime.log"
        command = [self._program, "--root", self._root, "--log", log, "--log-format", "json", *words]
        pid = os.fork()
        if pid == 0:
            _be(command, directory, streams)
        _, status = os.waitpid(pid, 0)
        if status:
            name = next(word for word in words if not word.startswith("-"))
            raise child.StartFailure(f"OCI runtime {name} failed: {_last_error(log)}")


def _be(command: list[str], directory: str, streams: tuple[int, int, int]) -> None:
    try:
        os.chdir(directory)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for number, fd in enumerate(streams):
            os.dup2(fd if fd >= 0 else null, number, inheritable=True)
        os.execve(command[0], command, _WORDS)  # noqa: S606
    finally:
        os._exit(127)


def _hand_over_terminal(console: socket.socket, channel: socket.socket) -> None:
    connection, _ = console.accept()
    with connection:
        _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
    socket.send_fds(channel, [b'{"terminal":true}'], fds)


def _resolve(process: child.Process, root: int) -> None:
    try:
        process.identity.resolve(root)
    except UnknownUser as error:
        raise child.StartFailure(f"unable to start container process: {error}") from error


def _seccomp(security: Record, process: child.Process) -> Record | None:
    if not process.identity.filter:
        return None
    if security.get("seccomp_profile"):
        return dict(json.loads(security["seccomp_profile"]))
    return default_profile(process.identity.capabilities, os.uname().machine)


def _refuse_kernel_places(view: rootfs.View) -> None:
    """Refuse mounts at /proc, and at /dev: programs before 2025-11 mask files with its null (CVE-2025-31133)."""
    for mount in view.mounts:
        inside = os.path.normpath("/" + mount["container_path"].lstrip("/"))
        if inside == "/dev":
            raise child.StartFailure("a volume at /dev could lead this runtime out of the container")
        if inside == "/proc" or inside.startswith("/proc/"):
            raise child.StartFailure(f'"{inside}" cannot be mounted because it is inside /proc')


def _device(mount: Record) -> Record:
    status = os.stat(mount["host_path"])
    kind = "b" if stat.S_ISBLK(status.st_mode) else "c"
    path = mount.get("container_path") or mount["host_path"]
    return {"path": path, "type": kind, "major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}


def _last_error(log: str) -> str:
    """Return the last thing that the program logged as an error."""
    try:
        with open(log) as file:
            lines = [json.loads(line) for line in file if line.startswith("{")]
    except (OSError, ValueError) as error:
        return str(error)
    return next(
        (str(line["msg"]) for line in reversed(lines) if line.get("level") == "error"), "it does not say why"
    )


def _write(path: str, value: Record) -> None:
    with open(path, "w") as file:
        file.write(json.dumps(value))


def make_handlers(programs: Record, make: Callable[[str, str], OciContainers]) -> dict[str, OciContainers]:
    """Return a handler for each OCI runtime that this machine has; `programs` maps names to paths."""
    return {name: make(name, programs[name]) for name in PROGRAMS if programs.get(name)}
