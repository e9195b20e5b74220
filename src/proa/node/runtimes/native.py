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

from proa.node.noded import child, disks, linux, network, rootfs, seccomp
from proa.node.noded.cgroups import Cgroups
from proa.node.noded.privileges import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Record = dict[str, Any]

_HOSTS = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""
_SHM_BYTES = 64 << 20
POD_PIDS_LIMIT = 4096  # a fork bomb ends here, not with the machine


class NativeRuntime:
    """Namespaces for every pod. Call `set_up` once, inside the node's own namespaces."""

    def __init__(self, settings: dict[str, Any], state: str, level: str) -> None:
        self.level = level
        self.features: dict[str, str] = {}
        self._settings = settings
        self._state = state
        self._single_uid = level == "rootless"
        self._cgroups = Cgroups(settings["cgroup"], "noded.cgroups")
        self._namespaces: dict[str, dict[str, int]] = {}
        self._home = {
            name: os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            for name in ("net", "ipc", "uts", "pid")
        }

    def set_up(self) -> None:
        """Make the node's network and control groups, and find out how file systems can be layered."""
        os.makedirs(f"{self._state}/roots", exist_ok=True)
        self._image = self._find_layering()
        self._cgroups.set_up()
        self.features |= self._cgroups.features
        self.features |= {"pid-namespace": "", "user-namespace": "", "seccomp": seccomp.why_not()}
        self._network = network.NodeNetwork(
            self._settings["node_ip"], self._settings["pod_cidr"], self._settings["service_cidr"]
        )
        try:
            refused = self._network.set_up()
        except OSError as error:
            self.features["pod-network"] = f"{error.strerror}: pods share the node's network namespace"
        else:
            self.features["pod-network"] = ""
            if refused:
                self.features["sysctls"] = ", ".join(f"{name}: {why}" for name, why in refused.items())

    @property
    def node_ip(self) -> str:
        """The node's address."""
        return str(self._settings["node_ip"])

    def cgroup_directories(self) -> list[str]:
        """Return what is to be removed from /sys/fs/cgroup when the node has ended."""
        return self._cgroups.directories()

    def clear(self) -> None:
        """Remove control groups that an earlier noded left."""
        for directory in self._cgroups.directories():
            for entry in os.scandir(directory):
                if entry.is_dir():
                    self._cgroups.remove(entry.name)

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
        folder = self._sandbox_folder(record)
        os.makedirs(f"{folder}/shm", exist_ok=True)
        shared = set(("net",) if config["host_network"] or self.features["pod-network"] else ())
        shared |= {"ipc"} if config["host_ipc"] else set()
        self._namespaces[record["id"]] = self._make_namespaces(config, shared)
        record["ip"] = self.node_ip
        if "net" not in shared:
            record["ip"] = self._network.connect_pod(self._namespaces[record["id"]]["net"])
        if config["host_ipc"]:
            linux.mount("/dev/shm", f"{folder}/shm", "", linux.MS_BIND)  # noqa: S108
        else:
            options = f"mode=1777,size={_SHM_BYTES}"
            linux.mount(
                "tmpfs", f"{folder}/shm", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC, options
            )
        _write(f"{folder}/hostname", config["hostname"] + "\n")
        _write(f"{folder}/hosts", hosts_file(record["ip"], config))
        _write(f"{folder}/resolv.conf", resolv_conf(config))
        self._cgroups.make(self._pod_cgroup(record), {"pids_limit": POD_PIDS_LIMIT}, inner=True)

    def _make_namespaces(self, config: Record, shared: set[str]) -> dict[str, int]:
        kinds = {"net": linux.CLONE_NEWNET, "ipc": linux.CLONE_NEWIPC, "uts": linux.CLONE_NEWUTS}
        made: dict[str, int] = {}
        try:
            linux.unshare(sum(flag for name, flag in kinds.items() if name not in shared))
            for name in kinds:
                made[name] = os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            socket.sethostname(config["hostname"][:64])
            for name, value in config["sysctls"].items():
                network.write_pod_sysctl(name, value, kinds.keys() - shared)
        except BaseException:
            _close_all(made)
            raise
        finally:
            for name in kinds:
                linux.setns(self._home[name])
        return made

    def end_sandbox(self, record: Record) -> None:
        """Let go of the pod's namespaces (its network goes with them), memory and control group."""
        namespaces = self._namespaces.pop(record["id"], None)
        if namespaces is None:
            return
        _close_all(namespaces)
        with contextlib.suppress(FileNotFoundError):  # it failed before it had any
            linux.umount(f"{self._sandbox_folder(record)}/shm")
        self._cgroups.remove(self._pod_cgroup(record))
        if record["ip"] and record["ip"] != self.node_ip:
            self._network.addresses.release(record["ip"])

    def prepare(self, record: Record, sandbox: Record) -> None:
        """Make what a container needs before it starts: folders and its control group with the limits."""
        rootfs.prepare(self._root_folder(record))
        self._cgroups.make(self._cgroup(record, sandbox), record["config"]["resources"])

    def start(
        self,
        record: Record,
        sandbox: Record,
        streams: tuple[int, int, int],
        *,
        beside: Record | None = None,
    ) -> child.Spawned:
        """Fork the container's first process; `beside` is the container whose PID namespace it is to be in."""
        config = record["config"]
        security = config["security"]
        folder = self._sandbox_folder(sandbox)
        files = {f"/etc/{name}": f"{folder}/{name}" for name in ("hosts", "hostname", "resolv.conf")}
        if config["termination_message_file"]:
            files[config["termination_message_path"]] = config["termination_message_file"]
        mounted = {mount["container_path"] for mount in config["mounts"]}
        path = self._cgroup(record, sandbox)
        view = rootfs.View(
            mounts=config["mounts"],
            files={inside: outside for inside, outside in files.items() if inside not in mounted},
            shm=f"{folder}/shm",
            cgroups=self._cgroups.mounts(path),
            privileged=bool(security["privileged"]),
            read_only=bool(security["read_only_root"]),
        )
        process = self._process(config, sandbox, config["argv"], tty=config["tty"], streams=streams)
        run = child.run_container(
            process,
            self._root_folder(record),
            self._image,
            view,
            self._namespaces[sandbox["id"]],
            child.joiner(self._cgroups, path),
            has_groups=not self._single_uid,
        )
        own = self._home["pid"]
        if sandbox["config"]["host_pid"] or beside is None:
            pid_namespace = None if sandbox["config"]["host_pid"] else -1
            return child.spawn(run, pid_namespace=pid_namespace, own_pid_namespace=own)
        shared = os.open(f"/proc/{beside['pid']}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return child.spawn(run, pid_namespace=shared, own_pid_namespace=own)
        finally:
            os.close(shared)

    def exec(
        self, record: Record, sandbox: Record, argv: list[str], *, tty: bool, streams: tuple[int, int, int]
    ) -> child.Spawned:
        """Fork another process into a running container."""
        process = self._process(record["config"], sandbox, argv, tty=tty, streams=streams)
        names = ["mnt", "cgroup", "pid"] + (["user"] if process.identity.nested else [])
        inside = {
            name: os.open(f"/proc/{record['pid']}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names
        }
        try:
            run = child.run_exec(
                process,
                self._namespaces[sandbox["id"]],
                inside,
                child.joiner(self._cgroups, self._cgroup(record, sandbox)),
                has_groups=not self._single_uid,
            )
            return child.spawn(run, pid_namespace=inside["pid"], own_pid_namespace=self._home["pid"])
        finally:
            _close_all(inside)

    def _process(
        self, config: Record, sandbox: Record, argv: list[str], *, tty: bool, streams: tuple[int, int, int]
    ) -> child.Process:
        env = {"PATH": self._settings["path"], "HOSTNAME": sandbox["config"]["hostname"]}
        if tty:
            env["TERM"] = "xterm"
        env |= dict(config["env"])
        identity = Identity(config["security"], single_uid=self._single_uid)
        return child.Process(
            list(argv),
            env,
            config["working_dir"],
            identity,
            tty=tty,
            streams=streams,
            oom_score_adj=config["resources"]["oom_score_adj"],
        )

    def ended(self, record: Record, sandbox: Record) -> int:
        """Clean up after a container's first process; return how many of its processes were killed for memory."""
        path = self._cgroup(record, sandbox)
        kills = self._cgroups.oom_kills(path)
        if sandbox["config"]["host_pid"] or record["config"].get("pid_namespace_of"):
            # no PID namespace ends with it
            with contextlib.suppress(ProcessLookupError):
                os.killpg(record["pid"], signal.SIGKILL)
            self._cgroups.kill(path)
        self._cgroups.remove(path)
        return kills

    def discard(self, record: Record, sandbox: Record) -> str:
        """Forget a container; return the folder that is to be removed."""
        self._cgroups.remove(self._cgroup(record, sandbox))
        return self._root_folder(record)

    def signal(self, record: Record, number: int) -> None:
        """Send a signal to a container's first process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(record["pid"], number)

    def resize(self, record: Record, sandbox: Record, resources: Record) -> None:
        """Set a container's limits anew."""
        self._cgroups.update(self._cgroup(record, sandbox), resources)

    def stats(self, record: Record, sandbox: Record) -> tuple[int, int]:
        """Return (CPU nanoseconds, working set bytes), -1 where unknown."""
        path = self._cgroup(record, sandbox)
        return self._cgroups.cpu_nanoseconds(path), self._cgroups.memory_working_set(path)

    def mount_memory(self, path: str, size_bytes: int, group: int | None) -> None:
        """Mount memory at a folder, seen by the node's containers only."""
        disks.mount_memory(path, size_bytes, group)

    def written(self, record: Record) -> str:
        """Return the folder that holds what a container has written to its root file system."""
        return self._root_folder(record)

    @contextlib.contextmanager
    def inside(self, sandbox_id: str) -> Iterator[None]:
        """Be in a sandbox's network namespace ("" is the node's), to make sockets."""
        if not sandbox_id:
            yield
            return
        with linux.entered(self._namespaces[sandbox_id]["net"], self._home["net"]):
            yield

    def network_namespace(self) -> int:
        """Return a descriptor of the node's network namespace, the caller's to close."""
        return os.dup(self._home["net"])

    def link(self, far_namespace: int, here: Record, there: Record) -> None:
        """Wire this node to another of this machine."""
        self._network.link(far_namespace, here, there)

    def add_addresses(self, addresses: list[str]) -> None:
        """Give the node's lo these addresses."""
        self._network.add_addresses(addresses)

    def remove_addresses(self, addresses: list[str]) -> None:
        """Take these addresses from the node's lo."""
        self._network.remove_addresses(addresses)

    def _sandbox_folder(self, sandbox: Record) -> str:
        return f"{self._state}/sandboxes/{sandbox['id']}"

    def _root_folder(self, record: Record) -> str:
        return f"{self._state}/roots/{record['id']}"

    def _pod_cgroup(self, sandbox: Record) -> str:
        return f"pod{sandbox['config']['uid'] or sandbox['id']}-{sandbox['id'][:8]}"

    def _cgroup(self, record: Record, sandbox: Record) -> str:
        return f"{self._pod_cgroup(sandbox)}/{record['id']}"


def hosts_file(ip: str, config: Record) -> str:
    """Return a pod's /etc/hosts (pkg/kubelet/kubelet_pods.go: managedHostsFileContent)."""
    if config["host_network"]:
        with open("/etc/hosts") as file:
            text = "# Kubernetes-managed hosts file (host network).\n" + file.read()
    else:
        names = [name for name in (config.get("domain_name"), config["hostname"]) if name]
        text = f"{_HOSTS}{ip}\t" + "\t".join(names) + "\n"
    if config["host_aliases"]:
        lines = [f"{address}\t" + "\t".join(names) for address, names in config["host_aliases"]]
        text += "\n# Entries added by HostAliases.\n" + "\n".join(lines) + "\n"
    return text


def resolv_conf(config: Record) -> str:
    """Return a pod's /etc/resolv.conf; the host's where the pod has no servers of its own."""
    if not config["dns_servers"]:
        with contextlib.suppress(FileNotFoundError), open("/etc/resolv.conf") as file:
            return file.read()
        return ""
    lines = [f"search {' '.join(config['dns_searches'])}"] if config["dns_searches"] else []
    lines += [f"nameserver {server}" for server in config["dns_servers"]]
    lines += [f"options {' '.join(config['dns_options'])}"] if config["dns_options"] else []
    return "\n".join(lines) + "\n"


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
