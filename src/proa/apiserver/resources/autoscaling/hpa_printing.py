"""Show an autoscaler's metrics in one cell: what is measured, and what is wanted.

Follows formatHPAMetrics in pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from proa.apiserver.resources.printing import NONE, UNKNOWN
from proa.client.protocol import Object
from proa.objects.quantity import canonicalize

MOST = 2
SOURCES = {
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
    "External": "external",
    "ContainerResource": "containerResource",
}
"""The field of a metric by its type."""


def metrics_cell(metrics: Sequence[Object], measured: Sequence[Object]) -> str:
    """Return e.g. `cpu: 40%/80%, 3/10 (avg) + 1 more...`."""
    if not metrics:
        return NONE
    shown = [_metric(m, measured[i] if i < len(measured) else {}) for i, m in enumerate(metrics)]
    more = len(shown) - MOST
    return ", ".join(shown[:MOST]) + (f" + {more} more..." if more > 0 else "")


def _metric(metric: Object, status: Object) -> str:
    kind = metric.get("type", "")
    key = SOURCES.get(kind)
    if key is None:
        return "<unknown type>"
    source = metric.get(key) or {}
    target, current = source.get("target") or {}, (status.get(key) or {}).get("current") or {}
    if kind in ("Resource", "ContainerResource"):
        return f"{source.get('name', '')}: {_resource(target, current)}"
    if "averageValue" in target and kind != "Pods":
        return f"{_amount(current, 'averageValue')}/{canonicalize(target['averageValue'])} (avg)"
    if kind == "Pods":
        return f"{_amount(current, 'averageValue')}/{canonicalize(target.get('averageValue', '0'))}"
    return f"{_amount(current, 'value')}/{canonicalize(target.get('value', '0'))}"


def _resource(target: Object, current: Object) -> str:
    if "averageValue" in target:
        return f"{_amount(current, 'averageValue')}/{canonicalize(target['averageValue'])}"
    used, wanted = current.get("averageUtilization"), target.get("averageUtilization")
    return f"{UNKNOWN if used is None else f'{used}%'}/{'<auto>' if wanted is None else f'{wanted}%'}"


def _amount(current: Object, key: str) -> str:
    return canonicalize(current[key]) if key in current else UNKNOWN
