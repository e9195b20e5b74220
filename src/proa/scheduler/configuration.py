"""Read a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): profiles, their plugins and what those are told.

Every field of upstream's is known and checked; an unknown one, or one of what there is not here, is refused with its
path. Follows staging/src/k8s.io/kube-scheduler/config/v1 and pkg/scheduler/apis/config/validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from proa.client.protocol import Object
from proa.objects.quick_dataclass import dataclass
from proa.scheduler.configuration_rules import ALL, API_VERSION, EVERY_POINT, KIND, POINTS, find_problems
from proa.scheduler.framework import Point
from proa.scheduler.pod_info import DEFAULT_SCHEDULER


class BadConfiguration(ValueError):
    """It cannot be carried out; the message says all that is wrong, each with its path."""


WITHOUT_EFFECT = (
    "parallelism", "leaderElection", "clientConnection", "enableProfiling", "enableContentionProfiling",
    "delayCacheUntilActive", "percentageOfNodesToScore",
)  # fmt: skip
"""What upstream's scheduler heeds and this one need not: all nodes are scored, by one thread."""


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """One profile: the plugins at each point (empty: all at all), weights of scores, and what plugins are told."""

    name: str = DEFAULT_SCHEDULER
    plugins_at: Mapping[Point, frozenset[str]] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    arguments: Mapping[str, Object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A scheduler's configuration."""

    profiles: tuple[ProfileSettings, ...] = (ProfileSettings(),)
    first_back_off_seconds: int = 1
    max_back_off_seconds: int = 10


def read_configuration(document: object, plugin_names: Sequence[str]) -> Configuration:
    """Return what a decoded file says; raise BadConfiguration. `plugin_names` are those that there are."""
    if not isinstance(document, dict):
        raise BadConfiguration("not a mapping")
    if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, KIND):
        raise BadConfiguration(f"not a {KIND} of {API_VERSION}")
    problems = find_problems(document, plugin_names)
    if problems:
        raise BadConfiguration("; ".join(problems))
    profiles = document.get("profiles") or [{"schedulerName": DEFAULT_SCHEDULER}]
    first, most = document.get("podInitialBackoffSeconds", 1), document.get("podMaxBackoffSeconds", 10)
    return Configuration(tuple(_read_profile(profile, plugin_names) for profile in profiles), first, most)


def _read_profile(profile: Object, defaults: Sequence[str]) -> ProfileSettings:
    """Work out who takes part where: at each point those of multiPoint, but for those disabled there, and more."""
    plugins: Mapping[str, Object] = {
        point: each or {} for point, each in (profile.get("plugins") or {}).items()
    }
    everywhere = plugins.get(EVERY_POINT, {})
    common = _without(frozenset(defaults), everywhere) | _names(everywhere.get("enabled"))
    weights = {
        entry["name"]: entry["weight"]
        for each in (everywhere, plugins.get("score", {}))
        for entry in each.get("enabled") or ()
        if entry.get("weight")
    }
    return ProfileSettings(
        profile["schedulerName"],
        {
            point: _without(common, plugins.get(point, {})) | _names(plugins.get(point, {}).get("enabled"))
            for point in POINTS
        }
        if plugins
        else {},
        weights,
        {entry["name"]: entry.get("args") or {} for entry in profile.get("pluginConfig") or ()},
    )


def _without(names: frozenset[str], plugins: Object) -> frozenset[str]:
    disabled = _names(plugins.get("disabled"))
    return frozenset() if ALL in disabled else names - disabled


def _names(entries: Sequence[Object] | None) -> frozenset[str]:
    return frozenset(entry["name"] for entry in entries or ())


def without_effect(document: Object) -> list[str]:
    """Return the fields that a configuration sets and that change nothing here."""
    found = [name for name in WITHOUT_EFFECT if name in document]
    for index, profile in enumerate(document.get("profiles") or ()):
        if "percentageOfNodesToScore" in profile:
            found.append(f"profiles[{index}].percentageOfNodesToScore")
    return found
