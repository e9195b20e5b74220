"""Say what is wrong with a KubeSchedulerConfiguration: unknown fields, values that cannot be.

Follows staging/src/k8s.io/kube-scheduler/config/v1 and pkg/scheduler/apis/config/validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from proa.client.protocol import Object
from proa.scheduler.framework import Point

API_VERSION = "kubescheduler.config.k8s.io/v1"
KIND = "KubeSchedulerConfiguration"
ALL = "*"
EVERY_POINT = "multiPoint"
OTHER_POINTS = ("queueSort", "reserve", "permit", "bind", "postBind")
"""Points at which each plugin of ours that is there always takes part."""
POINTS: tuple[Point, ...] = get_args(Point)
ALWAYS_ON = ("PrioritySort", "NodeName", "DefaultBinder")
"""Plugins of upstream's whose work is done without being a plugin."""

Schema = Any
"""What a value may be: a type, a list of one schema, or a map of fields to schemas; "any": whatever."""

PLUGIN_SET = {"enabled": [{"name": str, "weight": int}], "disabled": [{"name": str, "weight": int}]}
WEIGHTED = [{"name": str, "weight": int}]
TYPE = {"apiVersion": str, "kind": str}
ARGUMENTS: Mapping[str, Schema] = {
    "DefaultPreemption": {**TYPE, "minCandidateNodesPercentage": int, "minCandidateNodesAbsolute": int},
    "DynamicResources": {**TYPE, "filterTimeout": str, "bindingTimeout": str},
    "InterPodAffinity": {**TYPE, "hardPodAffinityWeight": int, "ignorePreferredTermsOfExistingPods": bool},
    "NodeAffinity": {**TYPE, "addedAffinity": "any"},
    "NodeResourcesBalancedAllocation": {**TYPE, "resources": WEIGHTED},
    "NodeResourcesFit": {
        **TYPE,
        "ignoredResources": [str],
        "ignoredResourceGroups": [str],
        "scoringStrategy": {
            "type": str,
            "resources": WEIGHTED,
            "requestedToCapacityRatio": {"shape": [{"utilization": int, "score": int}]},
        },
    },
    "PodTopologySpread": {**TYPE, "defaultConstraints": "any", "defaultingType": str},
    "VolumeBinding": {**TYPE, "bindTimeoutSeconds": int},
}
"""What plugins may be told, by their names."""
SCHEMA: Schema = {
    **TYPE,
    "parallelism": int,
    "leaderElection": {
        "leaderElect": bool, "leaseDuration": str, "renewDeadline": str, "retryPeriod": str, "resourceLock": str,
        "resourceName": str, "resourceNamespace": str,
    },
    "clientConnection": {
        "kubeconfig": str, "acceptContentTypes": str, "contentType": str, "qps": float, "burst": int,
    },
    "enableProfiling": bool,
    "enableContentionProfiling": bool,
    "delayCacheUntilActive": bool,
    "percentageOfNodesToScore": int,
    "podInitialBackoffSeconds": int,
    "podMaxBackoffSeconds": int,
    "profiles": [
        {
            "schedulerName": str,
            "percentageOfNodesToScore": int,
            "plugins": dict.fromkeys((EVERY_POINT, *POINTS, *OTHER_POINTS), PLUGIN_SET),
            "pluginConfig": [{"name": str, "args": "any"}],
        }
    ],
}  # fmt: skip


def find_problems(document: Object, plugin_names: Sequence[str]) -> list[str]:
    """Return all that is wrong, each with its path. `plugin_names` are the plugins that there are."""
    problems = _find_misfits(document, SCHEMA, "")
    if problems:
        return problems
    names = (*plugin_names, *ALWAYS_ON)
    first, most = document.get("podInitialBackoffSeconds", 1), document.get("podMaxBackoffSeconds", 10)
    if first <= 0:
        problems.append(f"podInitialBackoffSeconds: Invalid value: {first}: must be greater than 0")
    if most < first:
        rule = "must be greater than or equal to PodInitialBackoffSeconds"
        problems.append(f"podMaxBackoffSeconds: Invalid value: {most}: {rule}")
    seen: set[str] = set()
    for index, profile in enumerate(document.get("profiles") or ()):
        path, name = f"profiles[{index}]", profile.get("schedulerName", "")
        if not name:
            problems.append(f"{path}.schedulerName: Required value")
        if name in seen:
            problems.append(f'{path}.schedulerName: Duplicate value: "{name}"')
        seen.add(name)
        problems += _find_plugin_problems(profile, path, names)
    return problems


def _find_misfits(value: Any, schema: Schema, path: str) -> list[str]:
    """Return where a value is not what it may be."""
    if schema == "any" or value is None:
        return []
    if isinstance(schema, list):
        if not isinstance(value, list):
            return [f"{path}: not a list"]
        return [
            p for index, item in enumerate(value) for p in _find_misfits(item, schema[0], f"{path}[{index}]")
        ]
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            return [f"{path}: not a mapping"]
        start = f"{path}." if path else ""
        unknown = [f'unknown field "{start}{key}"' for key in value if key not in schema]
        known = [
            p
            for key in value
            if key in schema
            for p in _find_misfits(value[key], schema[key], f"{start}{key}")
        ]
        return unknown + known
    wanted = (int, float) if schema is float else schema
    is_right = isinstance(value, wanted) and (schema is bool or not isinstance(value, bool))
    return [] if is_right else [f"{path}: {value!r} is not of type {schema.__name__}"]


def _find_plugin_problems(profile: Object, path: str, names: Sequence[str]) -> list[str]:
    problems: list[str] = []
    for point, plugins in (profile.get("plugins") or {}).items():
        for kind in ("enabled", "disabled"):
            for index, entry in enumerate((plugins or {}).get(kind) or ()):
                name = entry.get("name", "")
                if name not in names and not (kind == "disabled" and name == ALL):
                    problems.append(f'{path}.plugins.{point}.{kind}[{index}]: plugin "{name}" does not exist')
                elif kind == "disabled" and point in ("queueSort", "bind") and name in (ALL, *ALWAYS_ON):
                    problems.append(f"{path}.plugins.{point}: no {point} plugin is enabled")
    seen: set[str] = set()
    for index, entry in enumerate(profile.get("pluginConfig") or ()):
        here, name = f"{path}.pluginConfig[{index}]", entry.get("name", "")
        if name in seen:
            problems.append(f'{here}: Duplicate value: "{name}"')
        seen.add(name)
        if name not in ARGUMENTS:
            reason = "takes no arguments" if name in names else "does not exist"
            problems.append(f'{here}: plugin "{name}" {reason}')
        else:
            problems += _find_argument_problems(name, entry.get("args") or {}, f"{here}.args")
    return problems


def _find_argument_problems(name: str, args: Any, path: str) -> list[str]:
    problems = _find_misfits(args, ARGUMENTS[name], path)
    if problems:
        return problems
    kind = args.get("kind", f"{name}Args")
    if kind != f"{name}Args" or args.get("apiVersion", API_VERSION) != API_VERSION:
        problems.append(f"{path}: not a {name}Args of {API_VERSION}")
    for key, least, most in RANGES.get(name, ()):
        if not least <= args.get(key, least) <= most:
            problems.append(f"{path}.{key}: Invalid value: {args[key]}: not in valid range [{least}-{most}]")
    if name == "NodeResourcesFit":
        problems += _find_strategy_problems(args.get("scoringStrategy") or {}, f"{path}.scoringStrategy")
    if name == "NodeResourcesBalancedAllocation":
        problems += _find_weight_problems(args.get("resources") or [], f"{path}.resources", most=1)
    if name == "PodTopologySpread":
        kind, constraints = args.get("defaultingType", "System"), args.get("defaultConstraints") or []
        if kind not in ("System", "List"):
            problems.append(
                f'{path}.defaultingType: Unsupported value: "{kind}": supported values: "System", "List"'
            )
        elif kind == "System" and constraints:
            problems.append(
                f"{path}.defaultConstraints: Invalid value: when .defaultingType is System, it must be empty"
            )
        problems += _find_constraint_problems(constraints, f"{path}.defaultConstraints")
    return problems


RANGES: Mapping[str, Sequence[tuple[str, int, int]]] = {
    "InterPodAffinity": (("hardPodAffinityWeight", 0, 100),),
    "DefaultPreemption": (
        ("minCandidateNodesPercentage", 0, 100),
        ("minCandidateNodesAbsolute", 0, 2**31 - 1),
    ),
    "VolumeBinding": (("bindTimeoutSeconds", 0, 2**62),),
}


def _find_strategy_problems(strategy: Object, path: str) -> list[str]:
    kinds = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
    kind = strategy.get("type", kinds[0])
    if kind not in kinds:
        known = ", ".join(f'"{each}"' for each in kinds)
        return [f'{path}.type: Unsupported value: "{kind}": supported values: {known}']
    problems = _find_weight_problems(strategy.get("resources") or [], f"{path}.resources", most=100)
    shape = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or []
    if kind != kinds[2]:
        return problems
    here = f"{path}.requestedToCapacityRatio.shape"
    if not shape:
        return [*problems, f"{here}: Required value: at least one point must be specified"]
    before = -1
    for index, point in enumerate(shape):
        for key, most in (("utilization", 100), ("score", 10)):
            if not 0 <= point.get(key, 0) <= most:
                value = point.get(key)
                problems.append(
                    f"{here}[{index}].{key}: Invalid value: {value}: not in valid range [0-{most}]"
                )
        if point.get("utilization", 0) <= before:
            problems.append(
                f"{here}[{index}].utilization: Invalid value: utilization values must be sorted in increasing order"
            )
        before = point.get("utilization", 0)
    return problems


def _find_weight_problems(resources: Sequence[Object], path: str, *, most: int) -> list[str]:
    return [
        f"{path}[{index}].weight: Invalid value: {resource.get('weight')}: not in valid range [1-{most}]"
        for index, resource in enumerate(resources)
        if not 1 <= resource.get("weight", 1) <= most
    ]


def _find_constraint_problems(constraints: Any, path: str) -> list[str]:
    if not isinstance(constraints, list) or not all(isinstance(each, dict) for each in constraints):
        return [f"{path}: not a list of mappings"]
    problems = []
    for index, constraint in enumerate(constraints):
        here = f"{path}[{index}]"
        if not isinstance(constraint.get("maxSkew"), int) or constraint["maxSkew"] <= 0:
            problems.append(
                f"{here}.maxSkew: Invalid value: {constraint.get('maxSkew')}: not in valid range (0, inf)"
            )
        if not constraint.get("topologyKey"):
            problems.append(f"{here}.topologyKey: Required value: can not be empty")
        if constraint.get("whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
            problems.append(f"{here}.whenUnsatisfiable: Required value: DoNotSchedule or ScheduleAnyway")
        if constraint.get("labelSelector") is not None:
            problems.append(
                f"{here}.labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod"
            )
    return problems
