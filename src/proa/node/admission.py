"""Refuse pods that were bound to this node and that it cannot run: they fail at once, with upstream's reason.

`why_rejected` is pure, but that it asks whether the kernel has AppArmor; `Admission` remembers who was let in, for only
these have a part of the node. A pod of system priority, or a static one, is let in at others' cost. Follows
pkg/kubelet/lifecycle/predicate.go, pkg/kubelet/preemption/preemption.go and pkg/kubelet/eviction/eviction_manager.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence, Set

from proa.client.protocol import Object
from proa.node import app_armor
from proa.node.eviction.ranking import CONFIG_SOURCE_ANNOTATION, is_critical
from proa.node.resize import as_allocated
from proa.node.resources import qos_class
from proa.node.sysctls import FORBIDDEN_REASON, why_forbidden
from proa.objects.meta import annotations as annotations_of
from proa.objects.meta import labels, uid
from proa.objects.node_selectors import is_picked_by
from proa.objects.pods import HostPort, amounts, host_ports, is_terminated, resource_requests
from proa.objects.quick_dataclass import dataclass
from proa.objects.tolerations import tolerates

OS = "linux"
OS_LABEL = "kubernetes.io/os"
PREEMPTED = ("Preempting", "Preempted in order to admit critical pod")
_QUALITIES = ("BestEffort", "Burstable", "Guaranteed")
_ANY_ADDRESS = ("", "0.0.0.0")  # noqa: S104


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a pod may not run here: the reason and message of its status. `short_of` names a resource, else ""."""

    reason: str
    message: str
    short_of: str = ""


def why_rejected(
    pod: Object, others: Sequence[Object], node: Object, pressures: Set[str] = frozenset()
) -> Rejection | None:
    """Return why a pod may not run beside the others on a node under these pressures, None where it may."""
    return (
        _under_pressure(pod, pressures)
        or _forbidden_sysctl(pod)
        or _unprotected(pod)
        or _of_another_system(pod)
        or _ungrouped(pod, node)
        or find_shortage(pod, others, node)
        or _misplaced(pod, others, node)
    )


def _under_pressure(pod: Object, pressures: Set[str]) -> Rejection | None:
    if not pressures or is_critical(pod):
        return None
    if pressures == {"MemoryPressure"}:
        taint = {"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}
        if qos_class(pod) != "BestEffort" or tolerates(pod["spec"].get("tolerations") or (), taint):
            return None
    return Rejection("Evicted", f"The node had condition: [{' '.join(sorted(pressures))}]. ")


def _forbidden_sysctl(pod: Object) -> Rejection | None:
    why = why_forbidden(pod)
    return Rejection(FORBIDDEN_REASON, why) if why else None


def _unprotected(pod: Object) -> Rejection | None:
    why = app_armor.why_refused(pod)
    return Rejection(app_armor.REFUSED_REASON, why) if why else None


def _of_another_system(pod: Object) -> Rejection | None:
    if labels(pod).get(OS_LABEL, OS) != OS:
        message = f"Failed to admit pod as the `{OS_LABEL}` label doesn't match node label"
        return Rejection("PodOSSelectorNodeLabelDoesNotMatch", message)
    if (pod["spec"].get("os") or {}).get("name", OS) != OS:
        return Rejection("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    return None


def _ungrouped(pod: Object, node: Object) -> Rejection | None:
    policy = (pod["spec"].get("securityContext") or {}).get("supplementalGroupsPolicy")
    features = (node.get("status") or {}).get("features") or {}
    if policy != "Strict" or features.get("supplementalGroupsPolicy"):
        return None
    message = f"SupplementalGroupsPolicy={policy} is not supported in this node"
    return Rejection("SupplementalGroupsPolicyNotSupported", message)


def find_shortage(pod: Object, others: Iterable[Object], node: Object) -> Rejection | None:
    """Return what the node has too little of, in the scheduler's units; what it does not have at all is passed over."""
    capacity = amounts((node.get("status") or {}).get("allocatable") or {})
    taken: dict[str, int] = {"pods": 0}
    for other in others:
        taken["pods"] += 1
        for resource, amount in resource_requests(as_allocated(other)).items():
            taken[resource] = taken.get(resource, 0) + amount
    wanted = {"pods": 1, **resource_requests(pod)}
    for resource, amount in wanted.items():
        used = taken.get(resource, 0)
        if resource not in capacity or amount <= 0 or amount + used <= capacity[resource]:
            continue
        numbers = f"requested: {amount}, used: {used}, capacity: {capacity[resource]}"
        message = f"Node didn't have enough resource: {resource}, {numbers}"
        return Rejection(f"OutOf{resource}", message, short_of=resource)
    return None


def _misplaced(pod: Object, others: Iterable[Object], node: Object) -> Rejection | None:
    """Return which of the scheduler's filters does not let the pod run on the node."""
    if not is_picked_by(pod["spec"], node):
        return _filtered("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    wanted = host_ports(pod)
    if wanted and any(
        _collide(port, taken) for other in others for taken in host_ports(other) for port in wanted
    ):
        return _filtered("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    tolerations = pod["spec"].get("tolerations") or ()
    taints = [t for t in node.get("spec", {}).get("taints") or () if t.get("effect") == "NoExecute"]
    is_static = annotations_of(pod).get(CONFIG_SOURCE_ANNOTATION, "api") != "api"
    if not is_static and not all(tolerates(tolerations, taint) for taint in taints):
        return _filtered("TaintToleration", "node(s) had taints that the pod didn't tolerate")
    return None


def _filtered(name: str, message: str) -> Rejection:
    return Rejection(name, f"Predicate {name} failed: {message}")


def _collide(one: HostPort, other: HostPort) -> bool:
    if (one.protocol, one.port) != (other.protocol, other.port):
        return False
    return one.ip == other.ip or one.ip in _ANY_ADDRESS or other.ip in _ANY_ADDRESS


def find_victims(pod: Object, others: Sequence[Object], node: Object) -> list[Object]:
    """Return the pods that must go for a critical one: the least worthy that make room, [] where none can."""

    def worth(other: Object) -> tuple[int, int]:
        return _QUALITIES.index(qos_class(other)), other["spec"].get("priority") or 0

    staying = sorted((other for other in others if not is_critical(other)), key=worth, reverse=True)
    fixed = [other for other in others if is_critical(other)]
    victims: list[Object] = []
    while find_shortage(pod, [*fixed, *staying], node) is not None:
        if not staying:
            return []
        victims.append(staying.pop())
    for victim in [*victims]:  # one that was chosen early may not be needed
        kept = [*fixed, *staying, victim]
        if find_shortage(pod, kept, node) is None:
            victims.remove(victim)
            staying.append(victim)
    return victims


class Admission:
    """One node's. `node` returns it as last seen, `look` as it is now; `evict(uid, reason, message)` ends a pod."""

    def __init__(
        self,
        pods: Callable[[], Sequence[Object]],
        node: Callable[[], Object],
        look: Callable[[], Awaitable[Object]],
        pressures: Callable[[], Set[str]],
        evict: Callable[[str, str, str], None],
    ) -> None:
        self._pods = pods
        self._node = node
        self._look = look
        self._pressures = pressures
        self._evict = evict
        self._admitted: dict[str, None] = {}

    async def admit(self, pod: Object) -> Rejection | None:
        """Let a pod in, or return why not; raise ApiError."""
        why = self._judge(pod, self._node())
        if why is not None:
            why = self._judge(pod, await self._look())
        return why

    def is_admitted(self, pod_uid: str) -> bool:
        """Tell whether a pod was let in."""
        return pod_uid in self._admitted

    def take(self, pod_uid: str) -> None:
        """Take a pod in that runs already."""
        self._admitted[pod_uid] = None

    def forget(self, pod_uid: str) -> None:
        """Drop a pod that is gone."""
        self._admitted.pop(pod_uid, None)

    def _judge(self, pod: Object, node: Object) -> Rejection | None:
        others = [
            other
            for other in self._pods()
            if uid(other) in self._admitted and uid(other) != uid(pod) and not is_terminated(other)
        ]
        why = why_rejected(pod, others, node, self._pressures())
        if why is not None and why.short_of and is_critical(pod):
            victims = find_victims(pod, others, node)
            for victim in victims:
                self.forget(uid(victim))
                self._evict(uid(victim), *PREEMPTED)
            why = None if victims else why
        if why is None:
            self.take(uid(pod))
        return why
