"""Pods keep to the Pod Security level of their namespace; makers of pods are warned where theirs would not.

Follows pod-security-admission/admission/admission.go. Without labels a namespace asks for nothing (upstream's default
configuration), which costs a look at its stored bytes; the checks are imported for the first that asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from proa.apiserver.admission.pod_security.levels import (
    PREFIX,
    LevelVersion,
    Policy,
    is_stricter,
    read_policy,
)
from proa.apiserver.registry.attributes import Attributes
from proa.apiserver.registry.catalog import Catalog
from proa.apiserver.registry.notes import annotate_audit, warn
from proa.apiserver.registry.refusals import forbidden, invalid_object
from proa.client.protocol import Object
from proa.objects import meta
from proa.objects.resource import NAMESPACES, PODS

if TYPE_CHECKING:
    from proa.apiserver.admission.pod_security.checks import Refusal

IGNORED_POD_SUBRESOURCES = frozenset(
    ("exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status")
)
MAX_PODS_CHECKED = 3000
"""So many pods of a namespace are looked at when its level rises."""
_MARK = PREFIX.encode()


def validate(attributes: Attributes) -> None:
    """Raise Forbidden for a pod that its namespace does not allow; warn of a template that would make one."""
    if attributes.operation not in ("CREATE", "UPDATE") or attributes.obj is None:
        return
    if attributes.definition.resource == NAMESPACES:
        _validate_namespace(attributes, attributes.obj)
    elif attributes.definition.resource == PODS:
        _validate_pod(attributes, attributes.obj)
    elif not attributes.subresource:
        _look_at_template(attributes, attributes.obj)


def _validate_namespace(attributes: Attributes, namespace: Object) -> None:
    """Raise Invalid for labels that say nothing known; warn of pods that a stricter level would refuse."""
    if attributes.subresource:
        return
    new, causes = read_policy(meta.labels(namespace))
    if attributes.operation == "CREATE":
        if causes:
            raise invalid_object(NAMESPACES, attributes.name, causes)
        return
    old, old_causes = read_policy(meta.labels(attributes.old or {}))
    if causes and causes != old_causes:
        raise invalid_object(NAMESPACES, attributes.name, causes)
    if _may_refuse_more(new.enforce, old.enforce):
        for said in _warnings_of_pods(attributes.catalog, attributes.name, new.enforce):
            warn(said)


def _may_refuse_more(new: LevelVersion, old: LevelVersion) -> bool:
    if new == old or new.level == "privileged":
        return False
    return new.minor != old.minor or is_stricter(new.level, old.level)


def _validate_pod(attributes: Attributes, pod: Object) -> None:
    if attributes.subresource in IGNORED_POD_SUBRESOURCES:
        return
    policy = _policy_of(attributes.catalog, attributes.namespace)
    if policy is None:
        return
    if attributes.operation == "UPDATE" and not _is_significant(pod, attributes.old or {}):
        return
    _apply(policy, attributes, pod["metadata"], pod.get("spec") or {}, enforce=True)


def _look_at_template(attributes: Attributes, obj: Object) -> None:
    policy = _policy_of(attributes.catalog, attributes.namespace)
    if policy is None or policy.warn.level == policy.audit.level == "privileged":
        return
    template = _template_of(obj)
    if template:
        metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
        _apply(policy, attributes, metadata, spec, enforce=False)


def _template_of(obj: Object) -> Mapping[str, Any]:
    """Return the pod template in a workload: a PodTemplate's own, a CronJob's job's, or spec.template."""
    spec = obj.get("spec") or {}
    in_job = (spec.get("jobTemplate") or {}).get("spec") or {}
    template: Mapping[str, Any] = obj.get("template") or in_job.get("template") or spec.get("template") or {}
    return template


def _apply(
    policy: Policy,
    attributes: Attributes,
    metadata: Mapping[str, Any],
    spec: Mapping[str, Any],
    *,
    enforce: bool,
) -> None:
    from proa.apiserver.admission.pod_security.evaluation import evaluate

    if enforce:
        annotate_audit(f"{PREFIX}enforce-policy", str(policy.enforce))
    if audited := evaluate(policy.audit, metadata, spec):
        said = f'would violate PodSecurity "{policy.audit}": {_details(audited)}'
        annotate_audit(f"{PREFIX}audit-violations", said)
    refused = evaluate(policy.enforce, metadata, spec) if enforce else []
    if refused:
        why = f'violates PodSecurity "{policy.enforce}": {_details(refused)}'
        raise forbidden(attributes.definition.resource, attributes.name, why)
    if warned := evaluate(policy.warn, metadata, spec):
        warn(f'would violate PodSecurity "{policy.warn}": {_details(warned)}')


def _details(refusals: Iterable[Refusal]) -> str:
    return ", ".join(map(str, refusals))


def _policy_of(catalog: Catalog, namespace: str) -> Policy | None:
    """Return what a namespace asks for, None where it asks for nothing."""
    entry = catalog.store.latest(catalog.of(NAMESPACES).key("", namespace))
    if entry is None or _MARK not in entry.value:
        return None
    policy, _ = read_policy(meta.labels(orjson.loads(entry.value)))
    return None if policy.is_privileged else policy


def _is_significant(new: Object, old: Object) -> bool:
    """Tell whether an update of a pod changes what counts: images, and ephemeral containers that come."""
    return _images(new) != _images(old)


def _images(pod: Object) -> list[tuple[str, str, str]]:
    spec = pod.get("spec") or {}
    keys = ("initContainers", "containers", "ephemeralContainers")
    return [(key, c.get("name", ""), c.get("image", "")) for key in keys for c in spec.get(key) or ()]


def _warnings_of_pods(catalog: Catalog, namespace: str, enforce: LevelVersion) -> list[str]:
    """Return what is to be said of a namespace's pods that a new level would refuse, like pods together."""
    from proa.apiserver.admission.pod_security.evaluation import evaluate

    registry = catalog.of(PODS)
    scope = registry.scope(namespace)
    page = registry.store.range(scope, limit=MAX_PODS_CHECKED)
    violators: dict[str, list[str]] = {}
    for entry in page.entries:
        pod = orjson.loads(entry.value)
        refused = evaluate(enforce, pod["metadata"], pod.get("spec") or {})
        if refused:
            reasons = ", ".join(refusal.reason for refusal in refused)
            violators.setdefault(reasons, []).append(pod["metadata"]["name"])
    warnings = []
    if page.remaining:
        checked, total = len(page.entries), len(page.entries) + page.remaining
        warnings.append(
            f"new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
        )
    if violators:
        warnings.append(
            f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{enforce}"'
        )
    return warnings + sorted(f"{_and_others(names)}: {reasons}" for reasons, names in violators.items())


def _and_others(names: list[str]) -> str:
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other pod{'s' if others > 1 else ''})"
