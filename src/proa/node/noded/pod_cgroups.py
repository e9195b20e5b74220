"""Keep the control groups of pods in a tree by quality of service: kubepods, kubepods/burstable, kubepods/besteffort.

Guaranteed pods are directly below kubepods. All burstable pods together weigh as much as their requests, all
best-effort ones as little as can be; a pod's own group has the limits of all of it. Follows pkg/kubelet/cm:
pod_container_manager_linux.go, qos_container_manager_linux.go.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from proa.node.noded.cgroups import Cgroups

    Record = dict[str, Any]

ROOT = "kubepods"
POD_PIDS_LIMIT = 4096  # a fork bomb ends here, not with the machine
_BELOW = {"Burstable": f"{ROOT}/burstable", "BestEffort": f"{ROOT}/besteffort"}
_MIN_SHARES = 2


def path_of(quality: str, uid: str, identifier: str) -> str:
    """Return the group of a pod's sandbox."""
    return f"{_BELOW.get(quality, ROOT)}/pod{uid or identifier}-{identifier[:8]}"


class PodCgroups:
    """The groups of the pods that are there."""

    def __init__(self, cgroups: Cgroups) -> None:
        self._cgroups = cgroups
        self._shares: dict[str, int] = {}

    def set_up(self) -> None:
        """Make the tree."""
        for path in (ROOT, *_BELOW.values()):
            self._cgroups.make(path, {"cpu_shares": _MIN_SHARES} if path != ROOT else None, inner=True)

    def add(self, sandbox: Record) -> None:
        """Make a pod's group, with its limits."""
        config = sandbox["config"]
        limits = {**(config.get("resources") or {}), "pids_limit": POD_PIDS_LIMIT}
        path = path_of(config.get("quality") or "", config["uid"], sandbox["id"])
        self._cgroups.make(path, limits, inner=True)
        self._weigh(sandbox)

    def update(self, sandbox: Record) -> None:
        """Give a pod's group other limits."""
        config = sandbox["config"]
        path = path_of(config.get("quality") or "", config["uid"], sandbox["id"])
        self._cgroups.update(path, {**(config.get("resources") or {}), "pids_limit": POD_PIDS_LIMIT})
        self._weigh(sandbox)

    def remove(self, sandbox: Record) -> None:
        """Remove a pod's group."""
        config = sandbox["config"]
        self._cgroups.remove(path_of(config.get("quality") or "", config["uid"], sandbox["id"]))
        if self._shares.pop(sandbox["id"], None) is not None:
            self._weigh_burstable()

    def _weigh(self, sandbox: Record) -> None:
        config = sandbox["config"]
        if config.get("quality") == "Burstable":
            self._shares[sandbox["id"]] = (config.get("resources") or {}).get("cpu_shares", 0)
            self._weigh_burstable()

    def _weigh_burstable(self) -> None:
        shares = max(_MIN_SHARES, sum(self._shares.values()))
        self._cgroups.update(_BELOW["Burstable"], {"cpu_shares": shares})
