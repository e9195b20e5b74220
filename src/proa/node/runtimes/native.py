"""Isolate pods with the kernel's own means, called directly: namespaces, control groups, overlays, capabilities.

One path for root and rootless: noded is root in its own namespaces either way. A sandbox is the descriptors of its
network, IPC and UTS namespaces, held by noded: they live as long as noded does, and need no pause process. Source of
the behaviour: containerd internal/cri/server (sandbox_run_linux.go, container_create_linux.go), runc.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from proa.node.noded import child, disks, holder, linux, network, pod_cgroups, rootfs, seccomp
from proa.node.noded.cgroups import Cgroups
from proa.node.noded.failures import Failure, no_runtime, no_user_namespaces
from proa.node.noded.ipv6 import Ipv6
from proa.node.noded.pod_files import hosts_file, resolv_conf
from proa.node.noded.pod_users import PodUsers
from proa.node.noded.privileges import Identity
from proa.node.runtimes import bwrap
from proa.node.runtimes.native_containers import NativeContainers
from proa.node.runtimes.oci import OciContainers, make_handlers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol

    Record = dict[str, Any]

    class Containers(Protocol):
        """How one handler starts processes in the pods that NativeRuntime makes."""

        abilities: dict[str, bool]

        def start(
            self, record: Record, sandbox: Record, process: child.Process, beside: Record | None
        ) -> child.Spawned:
            """Start a container's first process."""

        def exec(self, record: Record, sandbox: Record, process: child.Process) -> child.Spawned:
            """Start another process in a running container."""

        def ended(self, record: Record, sandbox: Record) -> None:
            """Let go of what is kept beside the container's folder and groups."""


NATIVE = "native"
_SHM_BYTES = 64 << 20


class NativeRuntime:
    """Namespaces for every pod. Call `set_up` once, inside the node's own namespaces."""

    def __init__(self, settings: dict[str, Any], state: str, level: str) -> None:
        self.level = level
        self.features: dict[str, str] = {}
        self._settings = settings
        self._state = state
        self.single_uid = level == "rootless"
        self.cgroups = Cgroups(settings["cgroup"], "noded.cgroups")
        self._namespaces: dict[str, dict[str, int]] = {}
        self._holders: dict[str, int] = {}
        self._pods = pod_cgroups.PodCgroups(self.cgroups)
        self._pod_users = PodUsers(settings["pod_cidr"])
        self._handlers: dict[str, Containers] = {NATIVE: NativeContainers(self)}
        self.home = {
            name: os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            for name in ("net", "ipc", "uts", "pid")
        }

    def set_up(self) -> None:
        """Make the node's network and control groups, and find out how file systems can be layered."""
        os.makedirs(f"{self._state}/roots", exist_ok=True)
        self.image = self._find_layering()
        self.cgroups.set_up()
        self.features |= self.cgroups.features
        self._add_handlers(self._settings.get("programs") or {})
        self.features |= {"pid-namespace": "", "user-namespace": "", "seccomp": seccomp.why_not()}
        settings, second = self._settings, None
        if settings.get("node_ipv6"):
            second = Ipv6(settings["node_ipv6"], settings["pod_cidr_v6"], settings["service_cidr_v6"])
        self._network = network.NodeNetwork(
            settings["node_ip"], settings["pod_cidr"], settings["service_cidr"], second
        )
        try:
            refused = self._network.set_up()
        except OSError as error:
            self.features["pod-network"] = f"{error.strerror}: pods share the node's network namespace"
        else:
            self.features["pod-network"] = ""
            if second is not None:
                self.features["ipv6"] = self._try_ipv6()
            if refused:
                self.features["sysctls"] = ", ".join(f"{name}: {why}" for name, why in refused.items())

    def _try_ipv6(self) -> str:
        try:
            self._network.set_up_ipv6()
        except OSError as error:
            return f"{error.strerror or error}: the node has IPv4 only"
        return ""

    @property
    def node_ipv6(self) -> str:
        """The node's IPv6 address, "" where it has none."""
        return self._network.node_ipv6

    @property
    def node_ip(self) -> str:
        """The node's address."""
        return str(self._settings["node_ip"])

    def cgroup_directories(self) -> list[str]:
        """Return what is to be removed from /sys/fs/cgroup when the node has ended."""
        return self.cgroups.directories()

    def clear(self) -> None:
        """Remove control groups that an earlier noded left, and make those that all pods share."""
        for directory in filter(os.path.isdir, self.cgroups.directories()):
            for entry in os.scandir(directory):
                if entry.is_dir():
                    self.cgroups.remove(entry.name)
        self._pods.set_up()

    def _add_handlers(self, programs: dict[str, str]) -> None:
        if self.level != "root":
            return
        self._handlers |= make_handlers(
            programs, lambda name, program: OciContainers(self, name, program, self._state)
        )
        if programs.get(bwrap.NAME):
            self._handlers[bwrap.NAME] = bwrap.BwrapContainers(self, programs[bwrap.NAME])
        if len(self._handlers) > 1:
            self.cgroups.expect_everywhere()

    def _find_layering(self) -> rootfs.HostImage:
        userxattr = self.level != "root"
        visible, masked = self._settings["visible"], self._settings["masked"]
        roots = f"{self._state}/roots"
        candidates = ("/usr", "/etc", "/opt", "/srv") if userxattr else ("/",)
        why = self._try_layering(candidates)
        if why:  # the state's file system cannot hold an upper layer (it is an overlay itself): memory can
            linux.mount("tmpfs", roots, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=700")
            again = self._try_layering(candidates)
            if again:
                linux.umount(roots)
            why = again and why
        self.features["overlay"] = why
        layering = "binds" if why else "folders" if userxattr else "overlay"
        image = rootfs.HostImage(layering, userxattr=userxattr, visible=visible, masked=masked)
        if not why:
            self._make_cover(image)
        return image

    def _try_layering(self, candidates: tuple[str, ...]) -> str:
        """Return "" when one of the folders can be overlaid, else why the first cannot."""
        roots, userxattr = f"{self._state}/roots", self.level != "root"
        answers = (rootfs.try_overlay([folder], roots, userxattr=userxattr) for folder in candidates)
        first = next(answers)
        return "" if not first or not all(answers) else first

    def _make_cover(self, image: rootfs.HostImage) -> None:
        """Make the layer that hides secrets; without it each container mounts over them, which takes longer."""
        folder = f"{self._state}/cover"
        os.makedirs(folder, exist_ok=True)
        if self.level == "root":  # a lower layer may not lie inside another, and the host's `/` is one
            linux.mount("tmpfs", folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=700,size=16m")
        try:
            image.make_cover(f"{folder}/layer")
            lowers = [f"{folder}/layer", "/"] if self.level == "root" else [f"{folder}/layer/etc", "/etc"]
            why = rootfs.try_overlay(lowers, f"{self._state}/roots", userxattr=image.userxattr)
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            image.cover, image.covered = "", []
            self.features["overlay-cover"] = why

    def make_sandbox(self, record: Record) -> None:
        """Make the pod's namespaces, network, files and control group; fill in `ip`."""
        config = record["config"]
        if not config.get("host_users", True) and not self.handler(record).abilities["userNamespaces"]:
            words = no_user_namespaces(config.get("runtime_handler") or "")
            raise Failure("CreatePodSandboxError", words)
        self.handler(record)
        folder = self.sandbox_folder(record)
        os.makedirs(f"{folder}/shm", exist_ok=True)
        shared = set(("net",) if config["host_network"] or self.features["pod-network"] else ())
        shared |= {"ipc"} if config["host_ipc"] else set()
        self._namespaces[record["id"]] = self._make_namespaces(record, shared)
        record["ip"], record["ipv6"] = self.node_ip, self.node_ipv6
        if "net" not in shared:
            record["ip"] = self._network.connect_pod(self._namespaces[record["id"]]["net"])
            record["ipv6"] = self._network.ipv6_of(record["ip"])
        self._make_shm(record)
        _write(f"{folder}/hostname", config["hostname"] + "\n")
        _write(f"{folder}/hosts", hosts_file(record["ip"], config, record["ipv6"]))
        _write(f"{folder}/resolv.conf", resolv_conf(config))
        self._pods.add(record)
        if config.get("share_processes") and not config["host_pid"]:
            self._start_holder(record)

    def _make_shm(self, record: Record) -> None:
        folder = self.sandbox_folder(record)
        if record["config"]["host_ipc"]:
            linux.mount("/dev/shm", f"{folder}/shm", "", linux.MS_BIND)  # noqa: S108
            return
        options = f"mode=1777,size={_SHM_BYTES}"
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("tmpfs", f"{folder}/shm", "tmpfs", flags, options)

    def _make_namespaces(self, record: Record, shared: set[str]) -> dict[str, int]:
        config = record["config"]
        kinds = {"net": linux.CLONE_NEWNET, "ipc": linux.CLONE_NEWIPC, "uts": linux.CLONE_NEWUTS}
        made: dict[str, int] = {}
        try:
            if config.get("host_users", True):
                linux.unshare(sum(flag for name, flag in kinds.items() if name not in shared))
                for name in kinds:
                    made[name] = os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            else:
                made |= self._pod_users.make_namespaces(
                    record, {k: f for k, f in kinds.items() if k not in shared}
                )
                for name in kinds:
                    linux.setns(made[name])
            socket.sethostname(config["hostname"][:64])
            for name, value in config["sysctls"].items():
                network.write_pod_sysctl(name, value, kinds.keys() - shared)
        except BaseException:
            _close_all(made)
            raise
        finally:
            for name in kinds:
                linux.setns(self.home[name])
        return made

    def _start_holder(self, record: Record) -> None:
        folder = self.sandbox_folder(record)
        os.mkdir(f"{folder}/proc")
        pid = holder.start(self.home["pid"], folder, f"{folder}/proc", single_uid=self.single_uid)
        self._holders[record["id"]] = pid
        self._namespaces[record["id"]]["pid"] = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def end_sandbox(self, record: Record) -> None:
        """Let go of the pod's namespaces (its network goes with them), memory and control group."""
        namespaces = self._namespaces.pop(record["id"], None)
        if namespaces is None:
            return
        if record["id"] in self._holders:  # its namespace, and all in it, end with it
            os.kill(self._holders.pop(record["id"]), signal.SIGKILL)
            linux.umount(f"{self.sandbox_folder(record)}/proc")
        _close_all(namespaces)
        with contextlib.suppress(FileNotFoundError):  # it failed before it had any
            linux.umount(f"{self.sandbox_folder(record)}/shm")
        self._pods.remove(record)
        self._pod_users.release(record)
        if record["ip"] and record["ip"] != self.node_ip:
            self._network.addresses.release(record["ip"])

    def remove_rest(self) -> bool:
        """Remove control groups in which something was still ending; tell whether none is left."""
        return self.cgroups.remove_rest()

    def update_sandbox(self, record: Record) -> None:
        """Set a pod's limits anew."""
        self._pods.update(record)

    def prepare(self, record: Record, sandbox: Record) -> None:
        """Make what a container needs before it starts: folders and its control group with the limits."""
        why = self.features["overlay"]
        if why and record["config"].get("layers"):
            raise Failure(
                "ImageNotRunnable", f"images cannot be unpacked over each other on this node: {why}"
            )
        self._identity(record["config"])  # a profile that cannot be carried out is told now
        rootfs.prepare(self.root_folder(record))
        self.cgroups.make(self.cgroup(record, sandbox), record["config"]["resources"])

    def start(
        self,
        record: Record,
        sandbox: Record,
        streams: tuple[int, int, int],
        *,
        beside: Record | None = None,
    ) -> child.Spawned:
        """Fork the container's first process, or what starts it.

        `beside` is the container whose PID namespace it is to be in.
        """
        config = record["config"]
        process = self._process(config, sandbox, config["argv"], tty=config["tty"], streams=streams)
        return self.handler(sandbox).start(record, sandbox, process, beside)

    def exec(
        self, record: Record, sandbox: Record, argv: list[str], *, tty: bool, streams: tuple[int, int, int]
    ) -> child.Spawned:
        """Fork another process into a running container."""
        process = self._process(record["config"], sandbox, argv, tty=tty, streams=streams)
        return self.handler(sandbox).exec(record, sandbox, process)

    def handler(self, sandbox: Record) -> Containers:
        """Return what runs a pod's containers; raise Failure in containerd's words."""
        name = sandbox["config"].get("runtime_handler") or NATIVE
        if name not in self._handlers:
            raise Failure("CreatePodSandboxError", no_runtime(name))
        return self._handlers[name]

    @property
    def handlers(self) -> dict[str, dict[str, bool]]:
        """The names that a RuntimeClass may give, with what each can."""
        return {name: handler.abilities for name, handler in self._handlers.items()}

    def view(self, record: Record, sandbox: Record) -> rootfs.View:
        """Return what a container sees beyond its image."""
        proc = f"{self.sandbox_folder(sandbox)}/proc" if sandbox["id"] in self._holders else ""
        config = record["config"]
        security = config["security"]
        folder = self.sandbox_folder(sandbox)
        files = {f"/etc/{name}": f"{folder}/{name}" for name in ("hosts", "hostname", "resolv.conf")}
        if config["termination_message_file"]:
            files[config["termination_message_path"]] = config["termination_message_file"]
        mounted = {mount["container_path"] for mount in config["mounts"]}
        return rootfs.View(
            mounts=config["mounts"],
            files={inside: outside for inside, outside in files.items() if inside not in mounted},
            shm=f"{folder}/shm",
            cgroups=self.cgroups.mounts(self.cgroup(record, sandbox)),
            privileged=bool(security["privileged"]),
            masked=not (security["privileged"] or security.get("unmasked_proc")),
            read_only=bool(security["read_only_root"]),
            users=self._namespaces[sandbox["id"]].get("user", -1),
            first_id=sandbox.get("first_id", 0),
            proc=proc,
            layers=config.get("layers") or (),
            volumes=[path for path in config.get("volumes") or () if path not in mounted],
        )

    def _identity(self, config: Record) -> Identity:
        try:
            return Identity(config["security"], single_uid=self.single_uid)
        except seccomp.BadProfile as error:
            raise Failure("CreateContainerError", f"error loading seccomp filter: {error}") from error

    def _process(
        self, config: Record, sandbox: Record, argv: list[str], *, tty: bool, streams: tuple[int, int, int]
    ) -> child.Process:
        env = {"HOSTNAME": sandbox["config"]["hostname"]}
        if not config.get("layers"):
            env["PATH"] = self._settings["path"]
        if tty:
            env["TERM"] = "xterm"
        env |= dict(config["env"])
        return child.Process(
            list(argv),
            env,
            config["working_dir"],
            self._identity(config),
            tty=tty,
            streams=streams,
            oom_score_adj=config["resources"]["oom_score_adj"],
            apparmor=config["security"].get("apparmor_profile") or "",
        )

    def ended(self, record: Record, sandbox: Record) -> int:
        """Clean up after a container's first process; return how many of its processes were killed for memory."""
        path = self.cgroup(record, sandbox)
        kills = self.cgroups.oom_kills(path)
        shares = "pid" in self._namespaces.get(sandbox["id"], ()) or record["config"].get("pid_namespace_of")
        if sandbox["config"]["host_pid"] or shares:  # no PID namespace ends with it
            with contextlib.suppress(ProcessLookupError):
                os.killpg(record["pid"], signal.SIGKILL)
            self.cgroups.kill(path)
        self.handler(sandbox).ended(record, sandbox)
        self.cgroups.remove(path)
        return kills

    def discard(self, record: Record, sandbox: Record) -> str:
        """Forget a container; return the folder that is to be removed."""
        self.cgroups.remove(self.cgroup(record, sandbox))
        return self.root_folder(record)

    def signal(self, record: Record, number: int) -> None:
        """Send a signal to a container's first process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(record["pid"], number)

    def resize(self, record: Record, sandbox: Record, resources: Record) -> None:
        """Set a container's limits anew."""
        self.cgroups.update(self.cgroup(record, sandbox), resources)

    def stats(self, record: Record, sandbox: Record) -> tuple[int, int]:
        """Return (CPU nanoseconds, working set bytes), -1 where unknown."""
        path = self.cgroup(record, sandbox)
        return self.cgroups.cpu_nanoseconds(path), self.cgroups.memory_working_set(path)

    def mount_memory(self, path: str, size_bytes: int, group: int | None) -> None:
        """Mount memory at a folder, seen by the node's containers only."""
        disks.mount_memory(path, size_bytes, group)

    def written(self, record: Record) -> str:
        """Return the folder that holds what a container has written to its root file system."""
        return self.root_folder(record)

    @contextlib.contextmanager
    def inside(self, sandbox_id: str) -> Iterator[None]:
        """Be in a sandbox's network namespace ("" is the node's), to make sockets."""
        if not sandbox_id:
            yield
            return
        with linux.entered(self._namespaces[sandbox_id]["net"], self.home["net"]):
            yield

    def network_namespace(self) -> int:
        """Return a descriptor of the node's network namespace, the caller's to close."""
        return os.dup(self.home["net"])

    def link(self, far_namespace: int, here: Record, there: Record) -> None:
        """Wire this node to another of this machine."""
        self._network.link(far_namespace, here, there)

    def set_overlay(self, device: Record, peers: list[Record]) -> bool:
        """Bring the ways to other machines' nodes to these; return whether the device has still to be made."""
        return self._network.set_overlay(device, peers)

    def add_addresses(self, addresses: list[str]) -> None:
        """Give the node's lo these addresses."""
        self._network.add_addresses(addresses)

    def remove_addresses(self, addresses: list[str]) -> None:
        """Take these addresses from the node's lo."""
        self._network.remove_addresses(addresses)

    def divert_outside(self, inside: list[str]) -> None:
        """Bring what is meant for other networks to the node's own sockets."""
        self._network.divert_outside(inside)

    def namespaces(self, sandbox: Record) -> dict[str, int]:
        """Return descriptors of the namespaces that a pod's containers share: net, ipc, uts, maybe user and pid."""
        return self._namespaces[sandbox["id"]]

    def sandbox_folder(self, sandbox: Record) -> str:
        """Return the folder of a pod's own files."""
        return f"{self._state}/sandboxes/{sandbox['id']}"

    def root_folder(self, record: Record) -> str:
        """Return the folder in which a container's root file system is made."""
        return f"{self._state}/roots/{record['id']}"

    def pod_cgroup(self, sandbox: Record) -> str:
        """Return a pod's group, below that of its QoS class (pkg/kubelet/cm/qos_container_manager_linux.go)."""
        config = sandbox["config"]
        return pod_cgroups.path_of(config.get("quality") or "", config["uid"], sandbox["id"])

    def cgroup(self, record: Record, sandbox: Record) -> str:
        """Return a container's group."""
        return f"{self.pod_cgroup(sandbox)}/{record['id']}"


def signal_number(name: str) -> int:
    """Return the number of a stop signal (SIGTERM, TERM, 15, SIGRTMIN+3)."""
    if name.isdigit():
        return int(name)
    base, _, offset = name.upper().removeprefix("SIG").partition("+")
    found = getattr(signal, f"SIG{base}", None)
    return (int(found) + int(offset or 0)) if found is not None else int(signal.SIGTERM)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)


def _close_all(fds: dict[str, int]) -> None:
    for fd in fds.values():
        os.close(fd)
