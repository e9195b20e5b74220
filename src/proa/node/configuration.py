"""Read a KubeletConfiguration (kubelet.config.k8s.io/v1beta1): what this kubelet can be told, and no more.

A field that upstream's kubelet knows and this one does not heed is refused, as an unknown one is, each with its path.
Follows staging/src/k8s.io/kubelet/config/v1beta1/types.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from proa.node.eviction.thresholds import Threshold, parse
from proa.objects.durations import parse_duration
from proa.objects.quantity import to_units

API_VERSION = "kubelet.config.k8s.io/v1beta1"
KIND = "KubeletConfiguration"
Changes = Mapping[str, Any]
"""Fields of KubeletSettings, and their values."""


class BadConfiguration(ValueError):
    """It cannot be carried out; the message says all that is wrong, each with its path."""


def load_configuration(path: str) -> Changes:
    """Read a configuration from a file (YAML or JSON); raise BadConfiguration, which names it."""
    import yaml

    try:
        return read_configuration(yaml.safe_load(Path(path).read_text()))
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfiguration(f"{path}: {' '.join(str(error).split())}") from None
    except BadConfiguration as error:
        raise BadConfiguration(f"{path}: {error}") from None


def read_configuration(document: object) -> Changes:
    """Return what a decoded file says; raise BadConfiguration."""
    if not isinstance(document, dict):
        raise BadConfiguration("not a mapping")
    if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, KIND):
        raise BadConfiguration(f"not a {KIND} of {API_VERSION}")
    problems: list[str] = []
    changes: dict[str, Any] = {}
    for field, value in document.items():
        if field in ("apiVersion", "kind"):
            continue
        if field not in FIELDS:
            problems.append(f"{field}: not a field that this kubelet heeds; it heeds {', '.join(FIELDS)}")
            continue
        name, read = FIELDS[field]
        try:
            changes[name] = read(value)
        except ValueError as error:
            problems.append(f"{field}: {error}")
    high, low = changes.get("image_gc_high_percent", 85), changes.get("image_gc_low_percent", 80)
    if low >= high:
        problems.append(
            f"imageGCLowThresholdPercent: {low} must be below imageGCHighThresholdPercent, {high}"
        )
    if problems:
        raise BadConfiguration("; ".join(problems))
    return changes


def _thresholds(value: object) -> tuple[Threshold, ...]:
    if not isinstance(value, dict) or not all(isinstance(said, str) for said in value.values()):
        raise ValueError('must map signals to quantities, e.g. {"memory.available": "100Mi"}')
    found = []
    for signal, said in value.items():
        try:
            found.append(parse(signal, said))
        except ValueError as error:
            raise ValueError(f"{signal}: {error}") from None
    return tuple(found)


def _positive(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} must be a number from 1")
    return value


def _percent(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        raise ValueError(f"{value!r} must be between 0 and 100, inclusive")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} must be true or false")
    return value


def _files(value: object) -> int:
    if _positive(value) < 2:
        raise ValueError("must be 2 at least: the one that is written, and one that was")
    return _positive(value)


def _bytes(value: object) -> int:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(f"{value!r} must be a quantity, e.g. 10Mi")
    return _positive(to_units(value))


def _seconds(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} must be a duration, e.g. 2m")
    return parse_duration(value) / 1e9


FIELDS: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "containerLogMaxFiles": ("container_log_max_files", _files),
    "containerLogMaxSize": ("container_log_max_bytes", _bytes),
    "evictionHard": ("eviction_hard", _thresholds),
    "imageMinimumGCAge": ("image_minimum_age_seconds", _seconds),
    "imageGCHighThresholdPercent": ("image_gc_high_percent", _percent),
    "imageGCLowThresholdPercent": ("image_gc_low_percent", _percent),
    "maxParallelImagePulls": ("max_parallel_image_pulls", _positive),
    "serializeImagePulls": ("serialize_image_pulls", _flag),
    "maxPods": ("max_pods", _positive),
}
"""What can be told: the field of KubeletSettings that it changes, and how its value is read (raises ValueError)."""
