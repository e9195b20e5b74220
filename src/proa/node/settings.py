"""Name every number and path that a kubelet goes by, with upstream's defaults (KubeletConfiguration v1beta1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from proa.node.eviction.thresholds import DEFAULTS, Threshold
from proa.objects.quick_dataclass import dataclass

KUBERNETES_VERSION = "v1.36.2"
"""The API level that this node speaks; the server's /version says the same."""


@dataclass(frozen=True, slots=True)
class KubeletSettings:
    """One node's settings. Durations are seconds, sizes bytes.

    `image_aliases` maps well-known names to images that this node provides; None is the built-in table
    (images.ALIASES), an empty mapping turns aliases off. `directory` is `$PROA_HOME/nodes/<name>`. GPUs are looked for
    in `devices_directory`; None: the node offers none.
    """

    node_name: str
    directory: Path
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")
    max_pods: int = 250
    image_aliases: Mapping[str, str] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[tuple[str, str], ...] = ()
    """Further addresses of the node, as (type, address)."""
    port: int = 10250
    """Where its HTTPS server is, if it has one."""
    starts_at_once: int = 8
    lease_duration_seconds: int = 40
    lease_renew_seconds: float = 10.0
    status_period_seconds: float = 300.0
    backoff_initial_seconds: float = 10.0
    backoff_max_seconds: float = 300.0
    retry_seconds: float = 10.0
    orphan_grace_seconds: float = 1.0
    devices_directory: Path | None = Path("/dev")
    eviction_hard: tuple[Threshold, ...] = DEFAULTS
    """How much must stay free; with none, no pod is ended for what the node is short of."""
    images_directory: Path | None = None
    """The machine's image store (`$PROA_HOME/images`); None: this node has only its own Python environment."""
    registries_file: Path = Path("registries.yaml")
    """Mirrors, certificates and users of registries (images/registries.py); it need not be there."""
    serialize_image_pulls: bool = True
    """One pull at a time, as upstream by default; layers of one image come several at once anyway."""
    max_parallel_image_pulls: int = 0
    """How many pulls at a time, whatever `serialize_image_pulls` says; 0 leaves it to that."""
    image_gc_high_percent: int = 85
    image_gc_low_percent: int = 80
    image_minimum_age_seconds: float = 120.0
    container_log_max_bytes: int = 10 << 20
    """How large a container's log may become before it goes on in a new file (containerLogMaxSize)."""
    container_log_max_files: int = 5
    """How many files of a container's log are kept (containerLogMaxFiles)."""
    drain_seconds: float = 10.0
    """The most that a container may take to end when the node is drained, however long its own grace."""
    pod_cidr_v6: str = ""
    """Where the pods' IPv6 addresses are from, should the node have them."""

    @property
    def manifests_directory(self) -> Path:
        """Manifests of static pods, one a file (staticPodPath)."""
        return self.directory / "manifests"

    @property
    def pods_directory(self) -> Path:
        """Volumes and termination messages, one folder a pod (by uid)."""
        return self.directory / "pods"

    @property
    def seccomp_directory(self) -> Path:
        """Where seccomp profiles of type Localhost are."""
        return self.directory / "seccomp"

    @property
    def logs_directory(self) -> Path:
        """Container logs, one folder a pod (namespace_name_uid)."""
        return self.directory / "logs" / "pods"
