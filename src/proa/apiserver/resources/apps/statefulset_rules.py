"""Say what is wrong with a StatefulSet (pkg/apis/apps/validation ValidateStatefulSet and ValidateStatefulSetUpdate)."""

from __future__ import annotations

from proa.apiserver.resources.apps.rolling_rules import (
    count_of,
    validate_at_most_all,
    validate_count_or_percent,
)
from proa.apiserver.resources.apps.template_rules import validate_selected
from proa.apiserver.resources.core.pod_rules import validate_pod_template
from proa.apiserver.resources.core.volume_claim_rules import validate_claim_spec
from proa.apiserver.resources.status_counts import (
    validate_available,
    validate_collisions,
    validate_counts,
)
from proa.client.protocol import Object
from proa.objects.errors import BadRequest, Cause
from proa.objects.validation import (
    all_invalid,
    dns_label,
    forbidden,
    invalid,
    not_supported,
    required,
    validate_non_negative,
)
from proa.objects.validation_selectors import is_empty_selector, validate_label_selector

RETENTIONS = ("Retain", "Delete")
MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
COUNTS = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas",
          "observedGeneration", "collisionCount")  # fmt: skip
PARTS = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")


def validate_create(stateful_set: Object) -> list[Cause]:
    """Check policies, numbers, selector and templates."""
    return _validate_spec(stateful_set["spec"], is_new=True)


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check what the update makes of it, and that only what may change has changed."""
    causes = _validate_spec(new["spec"], is_new=False, skips_pod=bool(_validate_pod(old["spec"])))
    if _fixed(new["spec"]) != _fixed(old["spec"]):
        *some, last = (f"'{key}'" for key in MUTABLE)
        detail = (
            f"updates to statefulset spec for fields other than {', '.join(some)} and {last} are forbidden"
        )
        causes.append(forbidden("spec", detail))
    return causes


def _fixed(spec: Object) -> Object:
    return {key: value for key, value in spec.items() if key not in MUTABLE and value not in ([], {})}


def _validate_spec(spec: Object, *, is_new: bool, skips_pod: bool = False) -> list[Cause]:
    causes = _validate_policies(spec)
    causes += validate_non_negative(spec.get("replicas", 0), "spec.replicas")
    causes += validate_non_negative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    if spec.get("ordinals") is not None:
        causes += validate_non_negative(spec["ordinals"].get("start", 0), "spec.ordinals.start")
    if is_new and spec.get("serviceName"):
        causes += all_invalid("spec.serviceName", spec["serviceName"], dns_label(spec["serviceName"]))
    causes += _validate_selector(spec)
    causes += [] if skips_pod else _validate_pod(spec)
    if is_new:
        for index, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
            causes += validate_claim_spec(claim["spec"], f"spec.volumeClaimTemplates[{index}].spec")
    return causes


def _validate_policies(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    policy = spec.get("podManagementPolicy", "")
    if policy not in ("OrderedReady", "Parallel"):
        causes.append(invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    strategy, path = spec.get("updateStrategy") or {}, "spec.updateStrategy"
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        if rolling is not None:
            detail = "only allowed for updateStrategy 'RollingUpdate'"
            causes.append(invalid(f"{path}.rollingUpdate", _as_upstream(rolling), detail))
    elif kind == "RollingUpdate":
        causes += _validate_rolling(rolling or {}, f"{path}.rollingUpdate")
    else:
        shown = {"Type": kind, "RollingUpdate": None if rolling is None else _as_upstream(rolling)}
        causes.append(invalid(path, shown, "must be 'RollingUpdate' or 'OnDelete'"))
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for key in ("whenDeleted", "whenScaled"):
        if retention.get(key) not in RETENTIONS:
            field = f"spec.persistentVolumeClaimRetentionPolicy.{key}"
            causes.append(not_supported(field, retention.get(key, ""), RETENTIONS))
    return causes


def _as_upstream(rolling: Object) -> Object:
    """Upstream shows its internal type, whose fields have Go's names."""
    return {"Partition": rolling.get("partition", 0), "MaxUnavailable": rolling.get("maxUnavailable")}


def _validate_rolling(rolling: Object, path: str) -> list[Cause]:
    causes = validate_non_negative(rolling.get("partition", 0), f"{path}.partition")
    unavailable = rolling.get("maxUnavailable")
    if unavailable is not None:
        field = f"{path}.maxUnavailable"
        causes += validate_count_or_percent(unavailable, field)
        if count_of(unavailable) == 0:
            causes.append(invalid(field, unavailable, "cannot be 0"))
        causes += validate_at_most_all(unavailable, field)
    return causes


def _validate_selector(spec: Object) -> list[Cause]:
    selector, template = spec.get("selector"), spec.get("template") or {}
    causes: list[Cause] = []
    if selector is None:
        causes.append(required("spec.selector"))
    else:
        causes += validate_label_selector(selector, "spec.selector")
        if is_empty_selector(selector):
            causes.append(invalid("spec.selector", selector, "empty selector is invalid for statefulset"))
    try:
        return causes + validate_selected(selector, template, "spec.template")
    except BadRequest:
        return [*causes, invalid("spec.selector", selector, "")]


def _validate_pod(spec: Object) -> list[Cause]:
    """Check the template as of a pod that has the claims' volumes too."""
    template = spec.get("template") or {}
    pod, path = template.get("spec") or {}, "spec.template"
    claims = [
        (claim.get("metadata") or {}).get("name", "") for claim in spec.get("volumeClaimTemplates") or ()
    ]
    if claims:
        volumes = [v for v in pod.get("volumes") or () if v.get("name") not in claims]
        volumes += [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
        causes = validate_pod_template({**template, "spec": {**pod, "volumes": volumes}}, path)
    else:
        causes = validate_pod_template(template, path)
    if pod.get("restartPolicy") != "Always":
        value = pod.get("restartPolicy", "")
        causes.append(not_supported(f"{path}.spec.restartPolicy", value, ("Always",)))
    if "activeDeadlineSeconds" in pod:
        detail = "activeDeadlineSeconds in StatefulSet is not Supported"
        causes.append(forbidden(f"{path}.spec.activeDeadlineSeconds", detail))
    return causes


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check that no count is negative, or larger than the one that it is a part of."""
    status = new.get("status") or {}
    causes = validate_counts(status, COUNTS, PARTS) + validate_available(status, "status.readyReplicas")
    return causes + validate_collisions(status, old.get("status") or {})
