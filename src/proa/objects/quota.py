"""Know what of a ResourceQuota an object uses: counts, requests and limits, scopes, and the sums of them.

Follows apiserver/pkg/quota/v1 and pkg/quota/v1/evaluator/core. Admission charges a quota by it, and the quota
controller counts by it, so that both say the same. Amounts are quantities as text, by resource name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from proa.objects import meta, pods
from proa.objects.quantity import add_quantities, parse_quantity, subtract_quantities
from proa.objects.resource import PERSISTENT_VOLUME_CLAIMS, PODS, SERVICES, Resource

Object = dict[str, Any]
Amounts = Mapping[str, str]

COUNTED_BY_NAME = frozenset(("configmaps", "replicationcontrollers", "resourcequotas", "secrets"))
"""Core resources whose number a quota may limit by their plain name, beside `count/<name>`."""
COMPUTE = ("cpu", "memory", "ephemeral-storage")
MUST_SAY = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))
"""Where a quota limits one of these, every container must say its own."""
OF_CLASS = ".storageclass.storage.k8s.io/"
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def count_name(resource: Resource) -> str:
    """Return the name under which any resource is counted: count/deployments.apps."""
    return f"count/{resource.qualified_name}"


def usage_of(resource: Resource, obj: Object, now: float) -> dict[str, str]:
    """Return what an object uses at a time (epoch seconds): a pod that has ended is only counted."""
    found = _EVALUATORS.get((resource.group, resource.plural))
    usage = found(obj, now) if found else {}
    if not resource.group and resource.plural in COUNTED_BY_NAME:
        usage[resource.plural] = "1"
    usage[count_name(resource)] = "1"
    return usage


def tracked(resource: Resource, names: Iterable[str]) -> list[str]:
    """Return those of a quota's resource names that objects of this resource count towards."""
    return [name for name in names if _is_tracked(resource, name)]


def _is_tracked(resource: Resource, name: str) -> bool:
    if name == count_name(resource):
        return True
    if resource == PODS:
        is_compute = any(name in (what, f"requests.{what}", f"limits.{what}") for what in COMPUTE)
        is_storage = name.endswith("requests.storage")
        is_prefixed = name.startswith(("hugepages-", "requests."))
        return name == "pods" or is_compute or (is_prefixed and not is_storage and OF_CLASS not in name)
    if resource == SERVICES:
        return name in ("services", "services.nodeports", "services.loadbalancers")
    if resource == PERSISTENT_VOLUME_CLAIMS:
        return name in ("persistentvolumeclaims", "requests.storage") or OF_CLASS in name
    return not resource.group and resource.plural in COUNTED_BY_NAME and name == resource.plural


def silent_containers(pod: Object, names: Iterable[str]) -> str:
    """Return what containers must say because a quota limits it, "" where all do: "limits.cpu for: a,b"."""
    wanted = MUST_SAY.intersection(names)
    said_for_all = set(_compute_usage((pod.get("spec") or {}).get("resources") or {}))
    missing: dict[str, list[str]] = {}
    for container in (*pods.containers(pod), *pods.init_containers(pod)):
        said = said_for_all | set(_compute_usage(container.get("resources") or {}))
        for name in wanted - said:
            missing.setdefault(name, []).append(container["name"])
    return "; ".join(f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing))


# Scopes.


def is_in_scope(quota: Object, resource: Resource, obj: Object) -> bool:
    """Tell whether a quota concerns an object, by spec.scopes and spec.scopeSelector."""
    spec = quota.get("spec") or {}
    requirements = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    requirements += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    return all(_is_in(requirement, resource, obj) for requirement in requirements)


def _is_in(requirement: Mapping[str, Any], resource: Resource, obj: Object) -> bool:
    spec, scope = obj.get("spec") or {}, requirement.get("scopeName")
    if resource == PERSISTENT_VOLUME_CLAIMS and scope == "VolumeAttributesClass":
        return _selects(requirement, spec.get("volumeAttributesClassName") or "")
    if resource != PODS:
        return False
    if scope == "PriorityClass":
        return _selects(requirement, spec.get("priorityClassName") or "")
    if scope in ("Terminating", "NotTerminating"):
        return (spec.get("activeDeadlineSeconds") is not None) is (scope == "Terminating")
    if scope in ("BestEffort", "NotBestEffort"):
        return _is_best_effort(obj) is (scope == "BestEffort")
    return scope == "CrossNamespacePodAffinity" and _reaches_other_namespaces(spec.get("affinity") or {})


def _selects(requirement: Mapping[str, Any], value: str) -> bool:
    values = requirement.get("values") or ()
    match requirement.get("operator"):
        case "Exists":
            return bool(value)
        case "DoesNotExist":
            return not value
        case "In":
            return value in values
        case "NotIn":
            return value not in values
    return False


def _is_best_effort(pod: Object) -> bool:
    spec = pod.get("spec") or {}
    asked = [spec.get("resources") or {}]
    asked += [c.get("resources") or {} for c in (*pods.containers(pod), *pods.init_containers(pod))]
    amounts = [{**(r.get("requests") or {}), **(r.get("limits") or {})} for r in asked]
    return not any(name in found for found in amounts for name in ("cpu", "memory"))


def _reaches_other_namespaces(affinity: Mapping[str, Any]) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        found = affinity.get(kind) or {}
        terms = [*(found.get("requiredDuringSchedulingIgnoredDuringExecution") or ())]
        preferred = found.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [weighted.get("podAffinityTerm") or {} for weighted in preferred]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


# What each kind uses.


def _pod_usage(pod: Object, now: float) -> dict[str, str]:
    if pods.is_terminated(pod) or _is_overdue(pod, now):
        return {}
    spec = pod.get("spec") or {}
    overhead = spec.get("overhead") or {}
    requests, limits = (pods.total_resources(spec, what) for what in ("requests", "limits"))
    limited = {name: amount for name, amount in overhead.items() if name in limits}
    return {
        "pods": "1",
        **_compute_usage({"requests": add(requests, overhead), "limits": add(limits, limited)}),
    }


def _is_overdue(pod: Object, now: float) -> bool:
    """Tell whether a pod should have been gone by now: a node that does not answer must not hold the quota."""
    metadata = pod["metadata"]
    if not meta.is_deleting(pod) or metadata.get("deletionGracePeriodSeconds") is None:
        return False
    return now > meta.parse_time(metadata["deletionTimestamp"]) + float(
        metadata["deletionGracePeriodSeconds"]
    )


def _compute_usage(resources: Mapping[str, Any]) -> dict[str, str]:
    """Return requests and limits under the names that quotas have for them."""
    usage: dict[str, str] = {}
    for name, amount in (resources.get("requests") or {}).items():
        usage[f"requests.{name}"] = amount
        if name in COMPUTE or name.startswith("hugepages-"):
            usage[name] = amount
    for name, amount in (resources.get("limits") or {}).items():
        if name in COMPUTE:
            usage[f"limits.{name}"] = amount
    return usage


def _service_usage(service: Object, now: float) -> dict[str, str]:
    spec = service.get("spec") or {}
    kind, ports = spec.get("type"), len(spec.get("ports") or ())
    usage = {"services": "1"}
    if kind == "LoadBalancer":
        usage["services.loadbalancers"] = "1"
        ports = sum(bool(p.get("nodePort")) for p in spec["ports"]) if not _allocates_ports(spec) else ports
    if kind in ("NodePort", "LoadBalancer"):
        usage["services.nodeports"] = str(ports)
    return usage


def _allocates_ports(spec: Mapping[str, Any]) -> bool:
    return spec.get("allocateLoadBalancerNodePorts") is not False


def _claim_usage(claim: Object, now: float) -> dict[str, str]:
    spec = claim.get("spec") or {}
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    usage = {"persistentvolumeclaims": "1"}
    if asked is not None:
        usage["requests.storage"] = asked
    name = meta.annotations(claim).get(CLASS_ANNOTATION) or spec.get("storageClassName")
    if name:
        usage |= {f"{name}{OF_CLASS}{what}": amount for what, amount in usage.items()}
    return usage


_EVALUATORS: dict[tuple[str, str], Callable[[Object, float], dict[str, str]]] = {
    ("", "pods"): _pod_usage,
    ("", "services"): _service_usage,
    ("", "persistentvolumeclaims"): _claim_usage,
}


# Sums.


def add(first: Amounts, second: Amounts) -> dict[str, str]:
    """Return both together."""
    names = [*first, *(name for name in second if name not in first)]
    return {name: add_quantities([a[name] for a in (first, second) if name in a]) for name in names}


def increase(new: Amounts, old: Amounts) -> dict[str, str]:
    """Return by how much `new` is above `old`, without what is not."""
    raised = {n: subtract_quantities(amount, old[n]) if n in old else amount for n, amount in new.items()}
    return {name: amount for name, amount in raised.items() if parse_quantity(amount) > 0}


def exceeding(used: Amounts, hard: Amounts) -> list[str]:
    """Return the names of which more is used than there may be, sorted."""
    return sorted(n for n in used if n in hard and parse_quantity(used[n]) > parse_quantity(hard[n]))
