"""Which annotations of an InferenceService its pods get: not those that say how it is deployed, scaled or routed.

Pure. KServe passes on all but a few, so that an annotation for the autoscaler makes a new revision; ours does not.
Source: ServiceAnnotationDisallowedList of pkg/constants/constants.go of KServe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_EXACT = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "modelFormat",
        "internal.serving.kserve.io/storage-initializer-sourceuri",
        "serving.kserve.io/deploymentMode",
        "serving.kserve.io/autoscalerClass",
        "serving.kserve.io/metrics",
        "serving.kserve.io/targetUtilizationPercentage",
        "serving.kserve.io/stop",
        "serving.kserve.io/enable-tag-routing",
        "serving.kserve.io/disable-auto-update",
        "serving.knative.dev/rollout-duration",
    }
)
_PREFIXES = ("autoscaling.knative.dev/", "serving.proa.dev/")


def passed_annotations(annotations: Mapping[str, str], disallowed: Iterable[str] = ()) -> dict[str, str]:
    """Return those that pods get."""
    refused = frozenset(disallowed)
    return {
        key: value
        for key, value in annotations.items()
        if key not in _EXACT and key not in refused and not key.startswith(_PREFIXES)
    }
