"""Run pods as supervised processes, with no isolation: the last rung, where the kernel refuses namespaces.

Host images only. Pods share the host's network, files and users, and `status().features` says so: a volume is at its
path only where that path is the host's own; the mapping is in the variable PROA_MOUNTS. Whatever a container leaves
behind is found by its environment (PROA_CONTAINER_ID) and killed; what noded leaves, its guard kills (ladder.guard).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal

from proa.node.noded import child, linux, network
from proa.node.noded.failures import Failure, no_runtime, no_user_namespaces
from proa.node.noded.pod_files import hosts_file, resolv_conf
from proa.node.noded.privileges import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Record = dict[str, Any]

_MISSING = (
    "pod-network", "overlay", "cgroup-cpu", "cgroup-memory", "cgroup-pids", "user-namespace", "pid-namespace",
    "netfilter", "mounts",
)  # fmt: skip
_NONE = "this node runs plain processes, without isolation (`proa doctor` says why)"


class ProcessRuntime:
    """Pods as process groups."""

    level = "process"

    def __init__(self, settings: dict[str, Any], state: str) -> None:
        self._settings = settings
        self._state = state
        self.features = dict.fromkeys(_MISSING, _NONE)

    def set_up(self) -> None:
        """Find the host's address, which is every pod's."""
        self.node_ip, self.node_ipv6 = network.host_address(), ""

    def cgroup_directories(self) -> list[str]:
        """There are none."""
        return []

    def clear(self) -> None:
        """Nothing outlives noded."""

    def make_sandbox(self, record: Record) -> None:
        """Write the pod's files, for those who look; its address is the host's."""
        wanted = record["config"].get("runtime_handler")
        if wanted and wanted not in self.handlers:
            raise Failure("CreatePodSandboxError", no_runtime(wanted))
        if not record["config"].get("host_users", True):
            raise Failure("CreatePodSandboxError", no_user_namespaces(wanted))
        record["ip"] = self.node_ip
        folder = f"{self._state}/sandboxes/{record['id']}"
        for name, text in (
            ("hosts", hosts_file(record["ip"], record["config"])),
            ("resolv.conf", resolv_conf(record["config"])),
        ):
            with open(f"{folder}/{name}", "w") as file:
                file.write(text)

    @property
    def handlers(self) -> dict[str, dict[str, bool]]:
        """The names that a RuntimeClass may give."""
        return {"process": {"recursiveReadOnlyMounts": False, "userNamespaces": False}}

    def update_sandbox(self, record: Record) -> None:
        """There are no limits."""

    def end_sandbox(self, record: Record) -> None:
        """There is nothing to let go of."""

    def remove_rest(self) -> bool:
        """There is nothing that could be left."""
        return True

    def prepare(self, record: Record, sandbox: Record) -> None:
        """Make the container's own working folder; an image of its own files would need isolation."""
        if record["config"].get("layers"):
            raise Failure("ImageNotRunnable", f"only images of this machine's own files run here: {_NONE}")
        os.makedirs(self._folder(record), exist_ok=True)

    def start(
        self,
        record: Record,
        sandbox: Record,
        streams: tuple[int, int, int],
        *,
        beside: Record | None = None,
    ) -> child.Spawned:
        """Fork the container's first process; all processes see one another here."""
        config = record["config"]
        return self._spawn(record, sandbox, config["argv"], tty=config["tty"], streams=streams)

    def exec(
        self, record: Record, sandbox: Record, argv: list[str], *, tty: bool, streams: tuple[int, int, int]
    ) -> child.Spawned:
        """Fork another process with the container's user, folder and environment."""
        return self._spawn(record, sandbox, argv, tty=tty, streams=streams)

    def _spawn(
        self, record: Record, sandbox: Record, argv: list[str], *, tty: bool, streams: tuple[int, int, int]
    ) -> child.Spawned:
        config = record["config"]
        mounts = {mount["container_path"]: mount["host_path"] for mount in config["mounts"]}
        env = {
            "PATH": self._settings["path"],
            "HOSTNAME": sandbox["config"]["hostname"],
            "PROA_MOUNTS": json.dumps(mounts),
        }
        if tty:
            env["TERM"] = "xterm"
        env |= dict(config["env"])
        env["PROA_CONTAINER_ID"] = record["id"]
        folder = config["working_dir"] if os.path.isdir(config["working_dir"]) else self._folder(record)
        process = child.Process(
            list(argv), env, folder, Identity(config["security"], single_uid=False), tty=tty, streams=streams
        )
        asked = config["security"]["run_as_user"] is not None
        return child.spawn(_runner(process, asked=asked))

    def ended(self, record: Record, sandbox: Record) -> int:
        """Kill what the container's first process left behind."""
        marker = f"PROA_CONTAINER_ID={record['id']}".encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                with open(f"/proc/{pid}/environ", "rb") as file:
                    found = marker in file.read().split(b"\0")
                if found:
                    os.kill(int(pid), signal.SIGKILL)
        return 0

    def discard(self, record: Record, sandbox: Record) -> str:
        """Return the folder that is to be removed."""
        return self._folder(record)

    def signal(self, record: Record, number: int) -> None:
        """Send a signal to the first process; SIGKILL goes to its whole session."""
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(record["pid"], number)
            else:
                os.kill(record["pid"], number)

    def resize(self, record: Record, sandbox: Record, resources: Record) -> None:
        """There are no limits to be changed; the node says so."""

    def stats(self, record: Record, sandbox: Record) -> tuple[int, int]:
        """Nothing counts for us: noded counts processes."""
        return -1, -1

    def mount_memory(self, path: str, size_bytes: int, group: int | None) -> None:
        """Refused: the host's mounts are not ours to change."""
        raise PermissionError(1, _NONE)

    def written(self, record: Record) -> str:
        """Return the container's own working folder."""
        return self._folder(record)

    @contextlib.contextmanager
    def inside(self, sandbox_id: str) -> Iterator[None]:
        """There is one network: the host's."""
        yield

    def network_namespace(self) -> int:
        """Refused: the node has none of its own."""
        raise PermissionError(1, _NONE)

    def link(self, far_namespace: int, here: Record, there: Record) -> None:
        """Refused, as above: all nodes share the host's network."""
        raise PermissionError(1, _NONE)

    def set_overlay(self, device: Record, peers: list[Record]) -> bool:
        """Refused, as above."""
        raise PermissionError(1, _NONE)

    def add_addresses(self, addresses: list[str]) -> None:
        """Refused: the host's network is not ours to change."""
        raise PermissionError(1, _NONE)

    def remove_addresses(self, addresses: list[str]) -> None:
        """Refused, as above."""
        raise PermissionError(1, _NONE)

    def divert_outside(self, inside: list[str]) -> None:
        """Refused, as above: pods have the host's own way."""
        raise PermissionError(1, _NONE)

    def _folder(self, record: Record) -> str:
        return f"{self._state}/roots/{record['id']}"


def _runner(process: child.Process, *, asked: bool) -> Callable[[Any], None]:
    def run(channel: Any) -> None:
        os.setsid()
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        child.set_streams(process, channel, os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
        os.chdir(process.working_dir)
        process.env.setdefault("HOME", process.working_dir)
        _assume(process.identity, asked=asked)
        child.execute(process.argv, process.env)

    return run


def _assume(identity: Identity, *, asked: bool) -> None:
    uid = os.geteuid()
    if asked and uid == 0:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user clears it
    elif asked and uid != identity.uid:
        raise child.StartFailure(
            f"runAsUser {identity.uid} cannot be had: the node runs as uid {uid}, and {_NONE}"
        )
    if identity.no_new_privileges:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
