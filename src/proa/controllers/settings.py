"""Hold what the controllers are told about this cluster; `Context.settings` is one of these."""

from __future__ import annotations

from pathlib import Path

from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """`ca_certificate` is PEM text; below `volumes_directory` the local-path class keeps its volumes.

    The other values are upstream's defaults (cmd/kube-controller-manager/app/options), in seconds.
    """

    ca_certificate: str
    volumes_directory: Path
    authority_certificate: Path = Path()
    authority_key: Path = Path()
    """The cluster's authority, in PEM, which signs what is asked of Kubernetes' own signers."""
    token_key: Path = Path()
    """The private key by which tokens of service accounts are signed."""
    node_monitor_grace_seconds: float = 50.0
    """Without a renewed lease or heartbeat for so long, a node's Ready turns Unknown."""
    pod_cidrs: tuple[tuple[str, ...], ...] = ()
    """What nodes that join from other machines are given for their pods, one entry a node, with a range a family."""
    api_addresses: tuple[str, ...] = ()
    """Where pods reach the API server, besides the addresses that kube-public/cluster-info has."""
    terminated_pod_threshold: int = 12_500
    """So many finished pods are kept before the oldest are collected."""
