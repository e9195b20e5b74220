"""A pod's priority is that of its class: 0 and PreemptLowerPriority without one.

Follows plugin/pkg/admission/priority/admission.go. PriorityClass objects are not served yet: the two that every
cluster has are known here.
"""

from __future__ import annotations

from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.refusals import forbidden
from proa.objects.resource import PODS

SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
DEFAULT_PREEMPTION = "PreemptLowerPriority"


def admit(attributes: Attributes) -> None:
    """Set spec.priority and spec.preemptionPolicy of a new pod; raise Forbidden."""
    pod = attributes.obj
    if attributes.operation != "CREATE" or attributes.subresource or pod is None:
        return
    spec = pod.setdefault("spec", {})
    name = spec.get("priorityClassName")
    value = SYSTEM_CLASSES.get(name) if name else 0
    if value is None:
        raise forbidden(PODS, attributes.name, f"no PriorityClass with name {name} was found")
    if spec.get("priority") not in (None, value):
        raise forbidden(
            PODS,
            attributes.name,
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission "
            f"controller computed {value} from the given PriorityClass name",
        )
    policy = spec.get("preemptionPolicy")
    if policy not in (None, DEFAULT_PREEMPTION):
        raise forbidden(
            PODS,
            attributes.name,
            f"the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; priority admission "
            f"controller computed {DEFAULT_PREEMPTION} from the given PriorityClass name",
        )
    spec["priority"] = value
    spec["preemptionPolicy"] = DEFAULT_PREEMPTION
