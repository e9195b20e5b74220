"""Read which images run algorithms that are not built in: the ConfigMap katib-config, as upstream's controller does.

Pure. Source: pkg/apis/config/v1beta1/{types,defaults}.go and pkg/util/v1beta1/katibconfig/config.go of kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.ml.tuning.algorithms.errors import AlgorithmFailed, UnknownAlgorithm
from proa.ml.tuning.kinds import CONFIG, NAMESPACE
from proa.objects.yaml_loader import make_loader

KEY = "katib-config.yaml"
WHERE = f"ConfigMap {NAMESPACE}/{CONFIG}"


def find_suggestion(config: Mapping[str, Any] | None, algorithm: str) -> Mapping[str, Any]:
    """Return the entry of a search algorithm: a container, and more; raise UnknownAlgorithm, AlgorithmFailed."""
    return _find(config, "suggestions", algorithm, "algorithm")


def find_early_stopping(config: Mapping[str, Any] | None, algorithm: str) -> Mapping[str, Any]:
    """Return the entry of an early-stopping algorithm; raise UnknownAlgorithm, AlgorithmFailed."""
    return _find(config, "earlyStoppings", algorithm, "early stopping algorithm")


def _find(config: Mapping[str, Any] | None, part: str, algorithm: str, noun: str) -> Mapping[str, Any]:
    runtime = _read(config).get("runtime")
    entries = runtime.get(part) if isinstance(runtime, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("algorithmName") == algorithm:
            if not entry.get("image"):
                raise AlgorithmFailed(
                    f"{WHERE}: {noun} {algorithm!r} has no image: set runtime.{part}[].image"
                )
            return entry
    words = f"there is no {noun} {algorithm!r} here, and {WHERE} has none in runtime.{part}"
    raise UnknownAlgorithm(f"{words}: add it with algorithmName and image, or name a built-in one")


def _read(config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return what the ConfigMap says; raise AlgorithmFailed."""
    text = ((config or {}).get("data") or {}).get(KEY)
    if not text:
        return {}
    import yaml

    try:
        found = yaml.load(text, Loader=make_loader())  # noqa: S506 - it makes plain values only
    except yaml.YAMLError as error:
        raise AlgorithmFailed(f"{WHERE}: {KEY} is no YAML: {error}") from None
    return found if isinstance(found, dict) else {}
