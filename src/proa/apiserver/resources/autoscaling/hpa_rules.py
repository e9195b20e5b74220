"""Say what is wrong with a HorizontalPodAutoscaler (pkg/apis/autoscaling/validation/validation.go)."""

from __future__ import annotations

from proa.apiserver.resources.autoscaling.hpa_printing import SOURCES
from proa.apiserver.resources.core.resource_rules import validate_container_resource_name
from proa.client.protocol import Object
from proa.objects.errors import Cause
from proa.objects.quantity import canonicalize, parse_quantity
from proa.objects.validation import (
    all_invalid,
    dns_label,
    forbidden,
    invalid,
    not_supported,
    path_segment,
    required,
    validate_non_negative,
)

MAX_WINDOW_SECONDS, MAX_PERIOD_SECONDS = 3600, 1800
SELECT_POLICIES = ("Disabled", "Max", "Min")
POLICY_TYPES = ("Percent", "Pods")
METRIC_TYPES = ("ContainerResource", "External", "Object", "Pods", "Resource")
CHECKED_IN_ORDER = ("object", "external", "pods", "resource", "containerResource")
TARGET_TYPES = ("Utilization", "Value", "AverageValue")
EITHER_RESOURCE = "must set either a target raw value or a target utilization"
NOT_BOTH_RESOURCE = "may not set both a target raw value and a target utilization"


def validate_create(autoscaler: Object) -> list[Cause]:
    """Check a new one."""
    return _validate_spec(autoscaler["spec"], {})


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Check what the update makes of it; 0 replicas and a reference that is wrong may stay."""
    return _validate_spec(new["spec"], old["spec"])


def _validate_spec(spec: Object, old: Object) -> list[Cause]:
    fewest, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    least = 0 if old.get("minReplicas") == 0 else 1
    causes: list[Cause] = []
    if fewest is not None and fewest < least:
        causes.append(invalid("spec.minReplicas", fewest, f"must be greater than or equal to {least}"))
    if most < 1:
        causes.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if fewest is not None and most < fewest:
        detail = "must be greater than or equal to `minReplicas`"
        causes.append(invalid("spec.maxReplicas", most, detail))
    target = spec.get("scaleTargetRef") or {}
    had = old.get("scaleTargetRef")
    is_core_allowed = target.get("kind") == "ReplicationController"
    skips_version = had is not None and bool(_version_problems(had, is_core_allowed=is_core_allowed))
    causes += validate_reference(
        target, "spec.scaleTargetRef", is_core_allowed=is_core_allowed, skips_version=skips_version
    )
    causes += _validate_metrics(spec, fewest, "spec.metrics")
    behavior = spec.get("behavior") or {}
    for key in ("scaleUp", "scaleDown"):
        if behavior.get(key) is not None:
            causes += _validate_scaling(behavior[key], f"spec.behavior.{key}")
    return causes


def validate_reference(
    reference: Object, path: str, *, is_core_allowed: bool, skips_version: bool = False
) -> list[Cause]:
    """Check a CrossVersionObjectReference."""
    causes: list[Cause] = []
    for key in ("kind", "name"):
        value = reference.get(key, "")
        causes += all_invalid(f"{path}.{key}", value, path_segment(value)) if value else [
            required(f"{path}.{key}")
        ]  # fmt: skip
    if not skips_version:
        problems = _version_problems(reference, is_core_allowed=is_core_allowed)
        causes += all_invalid(f"{path}.apiVersion", reference.get("apiVersion", ""), problems)
    return causes


def _version_problems(reference: Object, *, is_core_allowed: bool) -> list[str]:
    version = reference.get("apiVersion", "")
    if version.count("/") > 1:
        return [f"unexpected GroupVersion string: {version}"]
    has_group = bool(version.partition("/")[0]) and "/" in version
    return [] if has_group or is_core_allowed else ["apiVersion must specify API group"]


def _validate_metrics(spec: Object, fewest: int | None, field: str) -> list[Cause]:
    causes: list[Cause] = []
    metrics = spec.get("metrics") or []
    for index, metric in enumerate(metrics):
        causes += _validate_metric(metric, f"{field}[{index}]")
    if fewest == 0 and not any(m.get("type") in ("Object", "External") for m in metrics):
        detail = "must specify at least one Object or External metric to support scaling to zero replicas"
        causes.append(forbidden(field, detail))
    return causes


def _validate_metric(metric: Object, path: str) -> list[Cause]:
    kind = metric.get("type", "")
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in METRIC_TYPES:
        causes.append(not_supported(f"{path}.type", kind, METRIC_TYPES))
    given = [key for key in CHECKED_IN_ORDER if metric.get(key) is not None]
    if given:
        causes += _validate_source(given[0], metric[given[0]], f"{path}.{given[0]}")
    expected = SOURCES.get(kind)
    if expected is None:
        causes.append(not_supported(f"{path}.type", kind, METRIC_TYPES))
    elif expected not in given:
        detail = "must populate information for the given metric source"
        causes.append(required(f"{path}.{expected}", detail))
    if len(given) != 1:
        others = sorted(key for key in given if key != expected)
        detail = "must populate the given metric source only"
        causes += [forbidden(f"{path}.{key}", detail) for key in others]
    return causes


def _validate_source(kind: str, source: Object, path: str) -> list[Cause]:
    target = source.get("target") or {}
    average = f"{path}.target.averageValue"
    if kind in ("resource", "containerResource"):
        return _validate_resource(kind, source, target, path)
    causes: list[Cause] = []
    if kind == "object":
        described = source.get("describedObject") or {}
        causes += validate_reference(described, f"{path}.describedObject", is_core_allowed=True)
    name = (source.get("metric") or {}).get("name", "")
    causes += all_invalid(f"{path}.metric.name", name, path_segment(name)) if name else [
        required(f"{path}.metric.name", "must specify a metric name")
    ]  # fmt: skip
    causes += _validate_target(target, f"{path}.target")
    has_value, has_average = "value" in target, "averageValue" in target
    if kind == "pods":
        if not has_average:
            causes.append(required(average, "must specify a positive target averageValue"))
    elif not has_value and not has_average:
        detail = "must set either a target value or averageValue"
        external = "must set either a target value for metric or a per-pod target"
        causes.append(required(average, detail if kind == "object" else external))
    elif kind == "external" and has_value and has_average:
        detail = "may not set both a target value for metric and a per-pod target"
        causes.append(forbidden(f"{path}.target.value", detail))
    return causes


def _validate_resource(kind: str, source: Object, target: Object, path: str) -> list[Cause]:
    name, container = source.get("name", ""), source.get("container", "")
    causes: list[Cause] = []
    if not name:
        causes.append(required(f"{path}.name", "must specify a resource name"))
    elif kind == "containerResource":
        causes += validate_container_resource_name(name, f"{path}.name")
    if kind == "containerResource":
        causes += all_invalid(f"{path}.container", container, dns_label(container)) if container else [
            required(f"{path}.container", "must specify a container")
        ]  # fmt: skip
    causes += _validate_target(target, f"{path}.target")
    has_percent, has_value = "averageUtilization" in target, "averageValue" in target
    if not has_percent and not has_value:
        causes.append(required(f"{path}.target.averageUtilization", EITHER_RESOURCE))
    if has_percent and has_value:
        causes.append(forbidden(f"{path}.target.averageValue", NOT_BOTH_RESOURCE))
    return causes


def _validate_target(target: Object, path: str) -> list[Cause]:
    kind, causes = target.get("type", ""), []
    if not kind:
        causes.append(required(f"{path}.type", "must specify a metric target type"))
    if kind not in TARGET_TYPES:
        causes.append(invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for key in ("value", "averageValue"):
        if key in target and parse_quantity(target[key]) <= 0:
            causes.append(invalid(f"{path}.{key}", canonicalize(target[key]), "must be positive"))
    percent = target.get("averageUtilization")
    if percent is not None and percent < 1:
        causes.append(invalid(f"{path}.averageUtilization", percent, "must be greater than 0"))
    return causes


def _validate_scaling(rules: Object, path: str) -> list[Cause]:
    window, policy = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    field, causes = f"{path}.stabilizationWindowSeconds", list[Cause]()
    if window is not None and window < 0:
        causes.append(invalid(field, window, "must be greater than or equal to zero"))
    if window is not None and window > MAX_WINDOW_SECONDS:
        causes.append(invalid(field, window, f"must be less than or equal to {MAX_WINDOW_SECONDS}"))
    if policy is not None and policy not in SELECT_POLICIES:
        causes.append(not_supported(f"{path}.selectPolicy", policy, SELECT_POLICIES))
    if not rules.get("policies"):
        causes.append(required(f"{path}.policies", "must specify at least one Policy"))
    for index, step in enumerate(rules.get("policies") or ()):
        causes += _validate_policy(step, f"{path}.policies[{index}]")
    tolerance = rules.get("tolerance")
    if tolerance is not None and parse_quantity(tolerance) < 0:
        detail = "must be greater than or equal to 0"
        causes.append(invalid(f"{path}.tolerance", canonicalize(tolerance), detail))
    return causes


def _validate_policy(policy: Object, path: str) -> list[Cause]:
    kind, causes = policy.get("type", ""), []
    if kind not in POLICY_TYPES:
        causes.append(not_supported(f"{path}.type", kind, POLICY_TYPES))
    for key in ("value", "periodSeconds"):
        if policy.get(key, 0) <= 0:
            causes.append(invalid(f"{path}.{key}", policy.get(key, 0), "must be greater than zero"))
    period = policy.get("periodSeconds", 0)
    if period > MAX_PERIOD_SECONDS:
        detail = f"must be less than or equal to {MAX_PERIOD_SECONDS}"
        causes.append(invalid(f"{path}.periodSeconds", period, detail))
    return causes


def validate_status_update(new: Object, _old: Object) -> list[Cause]:
    """Check that no count is negative."""
    status = new.get("status") or {}
    return [
        cause
        for key in ("currentReplicas", "desiredReplicas")
        for cause in validate_non_negative(status.get(key, 0), f"status.{key}")
    ]
