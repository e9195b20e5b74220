"""Name what a worker can do next to a pod: the steps that `decide` (pod_lifecycle.py) asks for."""

from __future__ import annotations

from math import inf

from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class MountVolumes:
    """Make every volume of the pod ready."""


@dataclass(frozen=True, slots=True)
class MakeSandbox:
    """Make the pod's namespaces and address."""

    attempt: int


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Find the image, create, start. `is_restart` raises the back-off."""

    name: str
    attempt: int
    is_restart: bool = False


@dataclass(frozen=True, slots=True)
class KillContainer:
    """Run preStop, then the stop signal, then SIGKILL after `grace_seconds` in all.

    The signal waits until the containers in `after` (ids) have ended, for as long as the grace lasts.
    """

    container_id: str
    name: str
    grace_seconds: float
    message: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResizeContainer:
    """Give a running container what the spec now asks for."""

    container_id: str
    name: str
    resources: Object


@dataclass(frozen=True, slots=True)
class ResizePod:
    """Give the pod as a whole what the spec now asks for."""


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """Forget an attempt that nobody asks for any more."""

    container_id: str


@dataclass(frozen=True, slots=True)
class StopSandbox:
    """Take the pod's network away."""

    sandbox_id: str


@dataclass(frozen=True, slots=True)
class UnmountVolumes:
    """Free the pod's volumes; what was only the pod's is gone."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Forget the pod: its sandboxes, logs, and the API object."""


Step = (
    MountVolumes
    | MakeSandbox
    | StartContainer
    | KillContainer
    | ResizeContainer
    | ResizePod
    | RemoveContainer
    | StopSandbox
    | UnmountVolumes
    | Finish
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, in order, and when to ask again if nothing happens before (inf: never)."""

    steps: tuple[Step, ...] = ()
    wake_at: float = inf
