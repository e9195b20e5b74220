"""What the kubelet asks of a container runtime: a small CRI (cri-api/pkg/apis/runtime/v1/api.proto).

noded does the work, in the node's namespaces, and outlives the server: everything here can be asked again
after a restart and gives the same answer. Ids are noded's; labels carry what the kubelet must find again.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import field
from typing import Literal, Protocol

from proa.client.kubelet_api import ExecSession
from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """What this node's isolation really is, as found by trying.

    `level` is the rung of the ladder; `features` maps names (pod-network, overlay, cgroup-memory, cgroup-cpu,
    cgroup-pids, user-namespace, netfilter (the kernel's nftables), pid-namespace) to "" when
    they work, else to why not. `handlers` are the names that a RuntimeClass may give, each with what it can (as in the
    Node's status: userNamespaces, …). `node_ipv6` is the node's address of that family, "" where it has none.
    """

    name: str
    version: str
    level: Literal["root", "rootless-subids", "rootless", "process"]
    features: Mapping[str, str]
    node_ip: str
    pod_cidr: str
    handlers: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    node_ipv6: str = ""


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits for a cgroup; 0 means none. `cpu_quota_millis` is the CPU limit in thousandths of a core.

    `hugepage_limits` are bytes by page size, as in the names of control files (2MB, 1GB).
    """

    cpu_shares: int = 0
    cpu_quota_millis: int = 0
    memory_limit_bytes: int = 0
    pids_limit: int = 0
    oom_score_adj: int = 0
    hugepage_limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """A pod's shared surroundings. Where `host_network`, the pod uses the node's own network namespace.

    `domain_name` is the hostname's full name in the cluster's DNS, "" where the pod has none. `runtime_handler` is the
    one that its RuntimeClass names ("" is the node's own choice). Unless `host_users`, its ids are others than
    the node's. `quality` is its QoS class, below whose control group its own is; `resources` are limits for all of it.
    """

    namespace: str
    name: str
    uid: str
    hostname: str
    attempt: int = 0
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    dns_servers: tuple[str, ...] = ()
    dns_searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    host_aliases: tuple[tuple[str, tuple[str, ...]], ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    log_directory: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    domain_name: str = ""
    runtime_handler: str = ""
    share_processes: bool = False
    host_users: bool = True
    quality: Literal["Guaranteed", "Burstable", "BestEffort", ""] = ""
    resources: Resources = Resources()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox that exists. `ip` is "" before it has one, `ipv6` where it has none of that family.

    `state` is NotReady once its namespaces are gone.
    """

    id: str
    config: SandboxConfig
    ip: str
    state: Literal["Ready", "NotReady"]
    created_at: float
    ipv6: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A bind mount of `host_path` (on the node's file system) at `container_path`.

    Where `within` is set, it is a folder above `host_path`, and no symbolic link below it may lead out of it:
    what is below it belongs to containers. `is_device`: it is a device file, which the container may open.
    With `layers` (folders, the lowest first) it is those laid on each other, or the part of them at `host_path`.
    """

    host_path: str
    container_path: str
    read_only: bool = False
    propagation: Literal["private", "rslave", "rshared"] = "private"
    within: str = ""
    is_device: bool = False
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Security:
    """Who the container runs as, and what it may do. Capability names have no CAP_ prefix.

    `username` is a name (or name:group) of the image's own /etc/passwd, used where `run_as_user` is None. The image's
    /etc/group adds groups of that user, unless `strict_groups`. `seccomp_profile` is a profile in OCI's JSON, "" for
    the default one.
    """

    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    read_only_root: bool = False
    allow_privilege_escalation: bool = True
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    seccomp_unconfined: bool = False
    seccomp_profile: str = ""
    apparmor_profile: str = ""
    unmasked_proc: bool = False
    username: str = ""
    strict_groups: bool = False


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """One attempt at one container. `argv` is whole (entrypoint and arguments); `env` is the whole environment.

    `pid_namespace_of` is the id of a running container whose processes this one is to see and be among, "" for none.
    `layers` are the folders of its image's layers, the lowest first; without any it runs on this machine's own files.
    `volumes` are folders of the image that can be written even where its root file system cannot.
    """

    name: str
    image: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    working_dir: str = ""
    attempt: int = 0
    mounts: tuple[Mount, ...] = ()
    resources: Resources = Resources()
    security: Security = Security()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    log_path: str = ""
    log_max_bytes: int = 10 << 20
    log_max_files: int = 5
    termination_message_path: str = "/dev/termination-log"
    termination_message_file: str = ""
    stop_signal: str = "SIGTERM"
    labels: Mapping[str, str] = field(default_factory=dict)
    pid_namespace_of: str = ""
    layers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """A container that exists. Times are seconds since the epoch, 0 when not yet; `reason` is e.g. OOMKilled.

    `user` is who its first process began as: uid, gid, supplementary groups; None before it has begun.
    """

    id: str
    sandbox_id: str
    config: ContainerConfig
    state: Literal["Created", "Running", "Exited"]
    created_at: float
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    pid: int = 0
    user: tuple[int, int, tuple[int, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """An image that can run here. `repo_digest` is its imageID in statuses, `id` what the store knows it by.

    `layers` are the folders of its layers, the lowest first; without any it is this machine's own files.
    """

    name: str
    repo_digest: str
    size_bytes: int
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    user: str = ""
    id: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """A container started or exited, or (`container_id` empty, type "resync") the connection was renewed."""

    type: Literal["started", "exited", "resync"]
    container_id: str = ""
    sandbox_id: str = ""


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """Usage so far. -1 where this machine cannot tell."""

    cpu_nanoseconds: int
    memory_working_set_bytes: int


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """What a folder takes of its file system."""

    used_bytes: int
    inodes: int


class RuntimeFailure(Exception):
    """The runtime refused. `reason` is upstream's word: CreateContainerError, RunContainerError, ..."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Runtime(Protocol):
    """Every call may raise RuntimeFailure; calls about what is already gone or done succeed."""

    async def status(self) -> RuntimeStatus: ...

    async def run_sandbox(self, config: SandboxConfig) -> Sandbox:
        """Make namespaces, cgroup, hostname, resolv.conf, hosts and the network with its address."""

    async def update_sandbox(self, sandbox_id: str, resources: Resources) -> None:
        """Give all of a pod other limits; raise RuntimeFailure("ResizeError", ...) where the kernel refuses them."""

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill what is left in it and take its network away."""

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Forget it and its containers, with all that they had mounted."""

    async def list_sandboxes(self) -> list[Sandbox]: ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        """Prepare (root file system, mounts, cgroup) and return the container's id."""

    async def start_container(self, container_id: str) -> None:
        """Run it; raise RuntimeFailure("RunContainerError", ...) when its program cannot be executed."""

    async def update_container(
        self, container_id: str, resources: Resources, labels: Mapping[str, str]
    ) -> None:
        """Give a running container other limits, and these labels besides; `oom_score_adj` stays.

        Raise RuntimeFailure("ResizeError", ...) for a memory limit that is below what is in use.
        """

    async def stop_container(self, container_id: str, grace_seconds: float) -> None:
        """Send its stop signal, and SIGKILL after the grace; return when it has exited."""

    async def remove_container(self, container_id: str) -> None: ...

    async def list_containers(self) -> list[Container]: ...

    async def get_container(self, container_id: str) -> Container | None: ...

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """Yield from now on; begins with a resync."""

    async def exec(self, container_id: str, argv: tuple[str, ...], *, stdin: bool, tty: bool) -> ExecSession:
        """Run another process in the container's namespaces, cgroups, user and environment."""

    async def attach(self, container_id: str) -> ExecSession: ...

    async def usage(self) -> Mapping[str, ContainerStats]:
        """Return what each running container has used, by its id."""

    async def mount_memory(self, path: str, size_bytes: int, group: int | None) -> None:
        """Mount a tmpfs at a folder for containers to see, unless one is there.

        Raise RuntimeFailure("MountError", ...) where it cannot be.
        """

    async def disk_usage(
        self, containers: Sequence[str], folders: Sequence[str]
    ) -> tuple[list[DiskUsage], list[DiskUsage]]:
        """Return what these containers have written to their roots, and what these folders of the node hold."""

    async def dial(self, sandbox_id: str, host: str, port: int) -> socket.socket:
        """Return a connected TCP socket that lives in the sandbox's network ("" = the node's) namespace."""

    async def image(self, name: str) -> Image | None:
        """Return the image if it is here or is one that this node provides (`proa.local/python`)."""

    async def list_images(self) -> list[Image]: ...


SocketKind = Literal["tcp-listen", "tcp", "udp", "transparent-tcp-listen", "transparent-udp", "icmp"]
"""A transparent socket may have any address as its own, and tells which one a datagram was sent to."""


class NodeNetwork(Protocol):
    """What services and DNS ask of noded: sockets and rules inside the node's network namespace."""

    async def open_socket(self, kind: SocketKind, host: str = "", port: int = 0) -> socket.socket:
        """Return a socket made in the node's network namespace: listening or bound at host:port, or unbound."""

    async def add_addresses(self, addresses: list[str]) -> None:
        """Give the node's loopback these addresses (CIDR notation); those it has are left alone."""

    async def remove_addresses(self, addresses: list[str]) -> None: ...

    async def divert_outside(self, inside: list[str]) -> None:
        """Bring what is meant for other networks to sockets of this one: what rules mark, and what the node sends
        to others than those of `inside` (CIDR)."""

    async def ask_netfilter(self, request: bytes) -> bytes:
        """Send netlink messages to netfilter, and return its answers; raise RuntimeFailure("NetfilterError")."""
