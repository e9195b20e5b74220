"""Say what is wrong with a DaemonSet (pkg/apis/apps/validation ValidateDaemonSet and ValidateDaemonSetUpdate)."""

from __future__ import annotations

from proa.apiserver.resources.apps.rolling_rules import (
    count_of,
    validate_at_most_all,
    validate_count_or_percent,
)
from proa.apiserver.resources.apps.template_rules import validate_selected
from proa.apiserver.resources.core.pod_rules import validate_pod_template
from proa.apiserver.resources.status_counts import validate_collisions, validate_counts
from proa.client.protocol import Object
from proa.objects.errors import BadRequest, Cause
from proa.objects.validation import (
    forbidden,
    invalid,
    not_supported,
    required,
    validate_immutable,
    validate_non_negative,
)
from proa.objects.validation_selectors import is_empty_selector, validate_label_selector

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
STRATEGIES = ("RollingUpdate", "OnDelete")
COUNTS = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
          "observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable",
          "collisionCount")  # fmt: skip


def template_generation(daemon_set: Object) -> int:
    """Return how often the template was written, as the annotation says; raise BadRequest."""
    said = (daemon_set["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "0")
    try:
        return int(said)
    except ValueError:
        raise BadRequest(f'strconv.ParseInt: parsing "{said}": invalid syntax') from None


def validate(daemon_set: Object) -> list[Cause]:
    """Check selector, template, numbers and strategy."""
    spec = daemon_set["spec"]
    selector, template = spec.get("selector"), spec.get("template") or {}
    causes = validate_label_selector(selector, "spec.selector")
    try:
        causes += validate_selected(selector, template, "spec.template")
    except BadRequest:
        causes = [*causes]  # a selector that cannot be read is said above
    if selector is not None and is_empty_selector(selector):
        causes.append(invalid("spec.selector", selector, "empty selector is invalid for daemonset"))
    causes += validate_pod_template(template, "spec.template")
    pod = template.get("spec") or {}
    if pod.get("restartPolicy") != "Always":
        policy = pod.get("restartPolicy", "")
        causes.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if "activeDeadlineSeconds" in pod:
        detail = "activeDeadlineSeconds in DaemonSet is not Supported"
        causes.append(forbidden("spec.template.spec.activeDeadlineSeconds", detail))
    causes += validate_non_negative(spec.get("minReadySeconds", 0), "spec.minReadySeconds")
    causes += validate_non_negative(template_generation(daemon_set), "spec.templateGeneration")
    causes += _validate_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    return causes + validate_non_negative(spec.get("revisionHistoryLimit", 0), "spec.revisionHistoryLimit")


def _validate_strategy(strategy: Object, path: str) -> list[Cause]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [not_supported(path, {"Type": kind, "RollingUpdate": _as_upstream(rolling)}, STRATEGIES)]
    if rolling is None:
        return [required(f"{path}.rollingUpdate")]
    return _validate_rolling(rolling, f"{path}.rollingUpdate")


def _as_upstream(rolling: Object | None) -> Object | None:
    """Upstream shows its internal type, whose fields have Go's names."""
    if rolling is None:
        return None
    return {"MaxUnavailable": rolling.get("maxUnavailable", 0), "MaxSurge": rolling.get("maxSurge", 0)}


def _validate_rolling(rolling: Object, path: str) -> list[Cause]:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    causes = validate_count_or_percent(unavailable, f"{path}.maxUnavailable")
    causes += validate_count_or_percent(surge, f"{path}.maxSurge")
    causes += validate_at_most_all(unavailable, f"{path}.maxUnavailable")
    causes += validate_at_most_all(surge, f"{path}.maxSurge")
    if count_of(unavailable) and count_of(surge):
        causes.append(invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero"))
    elif not count_of(unavailable) and not count_of(surge):
        causes.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return causes


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check that the selector is the same."""
    return validate_immutable(new["spec"].get("selector"), old["spec"].get("selector"), "spec.selector")


def validate_status_update(new: Object, old: Object) -> list[Cause]:
    """Check that no count is negative, and that collisions are never fewer."""
    status = new.get("status") or {}
    return validate_counts(status, COUNTS) + validate_collisions(status, old.get("status") or {})
