"""Hold all that is known of one pod on this node at one moment: the input of `decide` and `pod_status`.

Both are pure, so a view is a value: built by the worker, or by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from proa.client.protocol import Object
from proa.node.backoff import BackOff
from proa.node.runtimes.protocol import Container, Sandbox
from proa.objects.pods import init_containers, is_sidecar
from proa.objects.quick_dataclass import dataclass

RestartPolicy = Literal["Always", "OnFailure", "Never"]


@dataclass(frozen=True, slots=True)
class StartFailure:
    """Why a container could not be started, in the words of its waiting state, and when to try again."""

    reason: str
    message: str
    retry_at: float


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes say of one running container. `restart_message` is set once it must be restarted."""

    started: bool = True
    ready: bool = True
    restart_message: str = ""
    grace_seconds: float | None = None


HEALTHY = Health()


@dataclass(frozen=True, slots=True)
class Ended:
    """The kubelet has ended this pod itself (deadline, eviction, refused admission).

    `grace_seconds` is what its containers have, None: what the pod says. `disrupted`: for others' sake, not its own.
    `rejected`: it never ran.
    """

    reason: str
    message: str
    grace_seconds: float | None = None
    disrupted: bool = False
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod: what is wanted (`pod`), what the runtime holds, and what the worker remembers.

    `containers` holds every attempt, the newest first. `health` and the two sets are keyed by container id;
    `failures` and `backoffs` by container name.
    """

    pod: Object
    sandbox: Sandbox | None = None
    containers: tuple[Container, ...] = ()
    volumes_ready: bool = False
    volumes_retry_at: float = 0.0
    sandbox_retry_at: float = 0.0
    killing: frozenset[str] = frozenset()
    hooks_pending: frozenset[str] = frozenset()
    pulling: frozenset[str] = frozenset()
    """The names of containers whose image is on its way."""
    health: Mapping[str, Health] = field(default_factory=dict)
    failures: Mapping[str, StartFailure] = field(default_factory=dict)
    backoffs: Mapping[str, BackOff] = field(default_factory=dict)
    ended: Ended | None = None
    host_ip: str = ""
    host_ipv6: str = ""
    started_at: float = 0.0
    """When the kubelet first saw the pod."""
    resize_pending: tuple[str, str] = ("", "")
    """Why a change of resources is not made: Deferred or Infeasible, and a message."""
    resize_error: str = ""
    """Why the runtime refused a change; it is tried again at `resize_retry_at`."""
    resize_retry_at: float = 0.0
    held_back: Mapping[str, Object] = field(default_factory=dict)
    """The resources that containers keep while a change is pending, by name."""

    def newest(self, name: str) -> Container | None:
        """Return the newest attempt at a container."""
        return next((c for c in self.containers if c.config.name == name), None)

    def previous(self, name: str) -> Container | None:
        """Return the newest attempt before the newest one."""
        attempts = [c for c in self.containers if c.config.name == name]
        return attempts[1] if len(attempts) > 1 else None

    def health_of(self, container: Container) -> Health:
        """Return what the probes say of it."""
        return self.health.get(container.id, HEALTHY)

    def is_started(self, container: Container) -> bool:
        """Tell whether it runs, its postStart hook is done and its startup probe has passed."""
        return (
            container.state == "Running"
            and container.id not in self.hooks_pending
            and self.health_of(container).started
        )

    def is_ready(self, container: Container) -> bool:
        """Tell whether it is started and its readiness probe passes."""
        return self.is_started(container) and self.health_of(container).ready

    @property
    def is_sandbox_usable(self) -> bool:
        """Tell whether containers can be started in the sandbox."""
        return self.sandbox is not None and self.sandbox.state == "Ready"


def sidecars(pod: Object) -> list[Object]:
    """Return the init containers that keep running."""
    return [c for c in init_containers(pod) if is_sidecar(c)]


def restart_policy(pod: Object) -> RestartPolicy:
    """Return the pod's restart policy."""
    policy: RestartPolicy = pod["spec"].get("restartPolicy") or "Always"
    return policy


def will_restart(pod: Object, container: Object, exit_code: int) -> bool:
    """Tell whether a regular container that exited so is to be started again (with its own rules: KEP-5307)."""
    for rule in container.get("restartPolicyRules") or []:
        codes = rule.get("exitCodes") or {}
        is_listed = exit_code in (codes.get("values") or [])
        if is_listed == (codes.get("operator") == "In"):
            return bool(rule.get("action") == "Restart")
    policy = container.get("restartPolicy") or restart_policy(pod)
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def will_restart_init(pod: Object, container: Object, exit_code: int) -> bool:
    """Tell whether an init container that exited so is to be started again."""
    if is_sidecar(container):
        return True
    return exit_code != 0 and will_restart(pod, container, exit_code)


def has_begun(view: PodView) -> bool:
    """Tell whether any regular container was ever made in this sandbox: the init containers are then done."""
    sandbox_id = view.sandbox.id if view.sandbox else ""
    regular = {c["name"] for c in view.pod["spec"]["containers"]}
    return any(c.config.name in regular and c.sandbox_id == sandbox_id for c in view.containers)
