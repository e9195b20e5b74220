"""Show an autoscaler as autoscaling/v1, which knows one metric (cpu) by itself and keeps the rest in annotations.

Follows pkg/apis/autoscaling/v1/conversion.go: metrics, their measurements and the conditions are in the annotations
as JSON of v1's own types, the behavior as JSON of upstream's internal type, whose fields have Go's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from proa.apiserver.resources.autoscaling.horizontalpodautoscaler import CPU_PERCENT
from proa.client.protocol import Object
from proa.objects.quantity import QuantityError, parse_quantity
from proa.objects.schemas.check import prune
from proa.objects.schemas.load import schema_named

METRICS = "autoscaling.alpha.kubernetes.io/metrics"
CURRENT_METRICS = "autoscaling.alpha.kubernetes.io/current-metrics"
CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
ANNOTATIONS = (METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR)

SPEC_NAMES: Mapping[str, Mapping[str, str]] = {
    "object": {"value": "targetValue", "averageValue": "averageValue"},
    "pods": {"averageValue": "targetAverageValue"},
    "resource": {"averageUtilization": "targetAverageUtilization", "averageValue": "targetAverageValue"},
    "containerResource": {
        "averageUtilization": "targetAverageUtilization",
        "averageValue": "targetAverageValue",
    },
    "external": {"value": "targetValue", "averageValue": "targetAverageValue"},
}
"""By source, how v1 calls the fields of v2's `target`."""
STATUS_NAMES: Mapping[str, Mapping[str, str]] = {
    "object": {"value": "currentValue", "averageValue": "averageValue"},
    "pods": {"averageValue": "currentAverageValue"},
    "resource": {"averageUtilization": "currentAverageUtilization", "averageValue": "currentAverageValue"},
    "containerResource": {
        "averageUtilization": "currentAverageUtilization",
        "averageValue": "currentAverageValue",
    },
    "external": {"value": "currentValue", "averageValue": "currentAverageValue"},
}
"""By source, how v1 calls the fields of v2's `current`."""
ALWAYS = ("targetValue", "targetAverageValue", "currentValue", "currentAverageValue")
"""Amounts that are no pointers in v1, where those that are none are 0."""
POINTERS = {("resource", "targetAverageValue"), ("containerResource", "targetAverageValue"),
            ("external", "targetValue"), ("external", "targetAverageValue"),
            ("external", "currentAverageValue")}  # fmt: skip
BEHAVIOR_FIELDS = ("stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance")


def to_v1(autoscaler: Object) -> Object:
    """Return a v2 autoscaler as v1."""
    spec, status = autoscaler.get("spec") or {}, autoscaler.get("status") or {}
    metrics, measured = spec.get("metrics") or [], status.get("currentMetrics") or []
    found = {
        METRICS: [_flat(m, SPEC_NAMES, "target") for m in metrics if not _is_cpu_percent(m)],
        CURRENT_METRICS: [_flat(m, STATUS_NAMES, "current") for m in measured],
        CONDITIONS: [{**c, "lastTransitionTime": c.get("lastTransitionTime")} for c in status.get("conditions") or []],
        BEHAVIOR: _behavior_to_go(spec["behavior"]) if spec.get("behavior") is not None else None,
    }  # fmt: skip
    _annotate(autoscaler, {key: orjson.dumps(value).decode() for key, value in found.items() if value})
    autoscaler["spec"] = _without(spec, "metrics", "behavior")
    percent = _cpu_percent(metrics, "target")
    if percent is not None:
        autoscaler["spec"]["targetCPUUtilizationPercentage"] = percent
    kept = _without(status, "currentMetrics", "conditions")
    autoscaler["status"] = {"currentReplicas": 0, "desiredReplicas": 0, **kept}
    used = _cpu_percent(measured, "current")
    if used is not None:
        autoscaler["status"]["currentCPUUtilizationPercentage"] = used
    return autoscaler


def to_v2(autoscaler: Object) -> Object:
    """Return a v1 autoscaler as v2; annotations that cannot be read are dropped."""
    spec, status = autoscaler.get("spec") or {}, autoscaler.get("status") or {}
    annotations = (autoscaler.get("metadata") or {}).get("annotations") or {}
    found = [_deep(m, SPEC_NAMES, "target") for m in _read_list(annotations.get(METRICS))]
    metrics: list[Object] = _readable("Spec", "metrics", found) or []
    percent = spec.get("targetCPUUtilizationPercentage")
    if percent is not None or not metrics:
        metrics.append(_cpu_metric("target", CPU_PERCENT if percent is None else percent))
    autoscaler["spec"] = {**_without(spec, "targetCPUUtilizationPercentage"), "metrics": metrics}
    behavior = _readable("Spec", "behavior", _behavior_from_go(annotations.get(BEHAVIOR)))
    if behavior:
        autoscaler["spec"]["behavior"] = behavior
    if status:
        autoscaler["status"] = _status_to_v2(status, annotations)
    _annotate(autoscaler, {})
    return autoscaler


def _status_to_v2(status: Object, annotations: Mapping[str, str]) -> Object:
    found = [_deep(m, STATUS_NAMES, "current") for m in _read_list(annotations.get(CURRENT_METRICS))]
    measured: list[Object] = _readable("Status", "currentMetrics", found) or []
    used = status.get("currentCPUUtilizationPercentage")
    if not measured and used is not None:
        measured = [_cpu_metric("current", used)]
    made = {**_without(status, "currentCPUUtilizationPercentage"), "currentMetrics": measured or None}
    conditions = _readable("Status", "conditions", _read_list(annotations.get(CONDITIONS)))
    if conditions:
        made["conditions"] = conditions
    return made


def _readable(part: str, key: str, value: Any) -> Any:
    """Return what an annotation says of a field, None where v2 has no such thing: upstream ignores it too."""
    obj = {key: value}
    faults = prune(obj, schema_named(f"io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler{part}"))
    return None if faults is not None and faults.undecodable else obj.get(key)


def _annotate(autoscaler: Object, found: Mapping[str, str]) -> None:
    """Have those of our annotations that were found, and no others of them."""
    metadata = autoscaler.setdefault("metadata", {})
    kept = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in ANNOTATIONS}
    if kept or found:
        metadata["annotations"] = {**kept, **found}
    else:
        metadata.pop("annotations", None)


def _without(obj: Object, *keys: str) -> Object:
    return {key: value for key, value in obj.items() if key not in keys}


def _is_cpu_percent(metric: Object) -> bool:
    resource = metric.get("resource") or {}
    is_cpu = metric.get("type") == "Resource" and resource.get("name") == "cpu"
    return is_cpu and (resource.get("target") or {}).get("averageUtilization") is not None


def _cpu_percent(metrics: list[Object], key: str) -> int | None:
    for metric in metrics:
        resource = metric.get("resource") or {}
        if metric.get("type") == "Resource" and resource.get("name") == "cpu":
            percent: int | None = (resource.get(key) or {}).get("averageUtilization")
            return percent
    return None


def _cpu_metric(key: str, percent: int) -> Object:
    amounts: Object = {"averageUtilization": percent}
    if key == "target":
        amounts["type"] = "Utilization"
    return {"type": "Resource", "resource": {"name": "cpu", key: amounts}}


def _flat(metric: Object, names: Mapping[str, Mapping[str, str]], key: str) -> Object:
    """Return a v2 metric as v1 has it: amounts and the metric's name beside one another."""
    made: Object = {"type": metric.get("type", "")}
    for kind, renamed in names.items():
        source = metric.get(kind)
        if source is None:
            continue
        flat = made[kind] = {k: source[k] for k in ("name", "container") if k in source}
        amounts, identity = source.get(key) or {}, source.get("metric") or {}
        if "describedObject" in source:
            flat["target"] = source["describedObject"]
        if "metric" in source:
            flat["metricName"] = identity.get("name", "")
            if "selector" in identity:
                flat["metricSelector" if kind == "external" else "selector"] = identity["selector"]
        for ours, theirs in renamed.items():
            if ours in amounts:
                flat[theirs] = amounts[ours]
            elif theirs in ALWAYS and (kind, theirs) not in POINTERS:
                flat[theirs] = "0"
    return made


def _deep(metric: Object, names: Mapping[str, Mapping[str, str]], key: str) -> Object:
    """Return a v1 metric as v2 has it."""
    made: Object = {"type": metric.get("type", "")}
    for kind, renamed in names.items():
        flat = metric.get(kind)
        if not isinstance(flat, dict):
            continue
        source = made[kind] = {k: flat[k] for k in ("name", "container") if k in flat}
        if "target" in flat:
            source["describedObject"] = flat["target"]
        if "metricName" in flat:
            source["metric"] = {"name": flat["metricName"]}
            selector = flat.get("metricSelector") or flat.get("selector")
            if selector is not None:
                source["metric"]["selector"] = selector
        amounts = {
            o: flat[t] for o, t in renamed.items() if flat.get(t) is not None and not _is_none(o, flat[t])
        }
        if key == "target":
            amounts["type"] = _target_type(amounts)
        source[key] = amounts
    return made


def _is_none(key: str, amount: Any) -> bool:
    try:
        return key != "averageUtilization" and parse_quantity(amount) == 0
    except QuantityError:
        return False


def _target_type(amounts: Object) -> str:
    if "averageUtilization" in amounts:
        return "Utilization"
    return "AverageValue" if "averageValue" in amounts else "Value"


def _read_list(text: str | None) -> list[Object]:
    found = _read(text)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _read(text: str | None) -> Any:
    try:
        return None if text is None else orjson.loads(text)
    except orjson.JSONDecodeError:
        return None  # as upstream: who writes nonsense there loses it


def _behavior_to_go(behavior: Object) -> Object:
    return {_go_name(key): _rules_to_go(behavior.get(key)) for key in ("scaleUp", "scaleDown")}


def _rules_to_go(rules: Object | None) -> Object | None:
    if rules is None:
        return None
    made: Object = {_go_name(key): rules.get(key) for key in BEHAVIOR_FIELDS}
    if rules.get("policies") is not None:
        fields = ("type", "value", "periodSeconds")
        made["Policies"] = [{_go_name(k): policy.get(k) for k in fields} for policy in rules["policies"]]
    return made


def _go_name(key: str) -> str:
    return key[:1].upper() + key[1:]


def _behavior_from_go(text: str | None) -> Object | None:
    found = _from_go(_read(text))
    if not isinstance(found, dict):
        return None
    return {key: found[key] for key in ("scaleUp", "scaleDown") if isinstance(found.get(key), dict)} or None


def _from_go(value: Any) -> Any:
    """Return the value with field names that begin small, nulls left out."""
    if isinstance(value, dict):
        return {k[:1].lower() + k[1:]: _from_go(v) for k, v in value.items() if v is not None}
    return [_from_go(item) for item in value] if isinstance(value, list) else value
