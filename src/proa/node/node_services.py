"""Hold what every pod worker of a node shares: the API, the runtime, the clock, and the helpers over them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field

from proa.client.protocol import Client, Object
from proa.node.admission import Admission
from proa.node.device_manager import DeviceManager
from proa.node.images.manager import ImageManager
from proa.node.probes.manager import ProbeManager
from proa.node.runtime_cache import RuntimeCache
from proa.node.runtimes.protocol import Runtime
from proa.node.settings import KubeletSettings
from proa.node.sources import ObjectSources
from proa.node.status_writer import StatusWriter
from proa.node.volumes.mounter import VolumeMounter
from proa.objects.quick_dataclass import dataclass
from proa.reconcile.protocol import EventRecorder

Protect = Callable[[Object, Sequence[str]], Awaitable[None]]
"""Has the network ready for a pod with these addresses, before anything of it runs; raises what the node says."""


async def unprotected(pod: Object, addresses: Sequence[str]) -> None:
    """Protect nobody: there is no network but the kubelet's own."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this node has, and lacks. Quantities are as in the Node's status, features as in RuntimeStatus."""

    ip: str
    memory_bytes: int
    allocatable: dict[str, str]
    features: Mapping[str, str] = field(default_factory=dict)
    ipv6: str = ""


@dataclass(slots=True)
class NodeServices:
    """One node's shared parts. `services` lists all Services, `pods` the node's own.

    `now` returns seconds since the epoch.
    """

    settings: KubeletSettings
    client: Client
    runtime: Runtime
    cache: RuntimeCache
    events: EventRecorder
    now: Callable[[], float]
    images: ImageManager
    mounter: VolumeMounter
    sources: ObjectSources
    statuses: StatusWriter
    probes: ProbeManager
    services: Callable[[], Sequence[Object]]
    pods: Callable[[], Sequence[Object]]
    machine: Machine
    devices: DeviceManager
    admission: Admission
    protect: Protect = unprotected
    start_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))
