"""What an administrator says in Katib's ConfigMap, kubeflow/katib-config, of which what still has a meaning is read.

Collectors' resources, by their kind, and the claims of algorithms that share a volume with trials. Images are ours.
Source: pkg/apis/config/v1beta1/types.go of kubeflow/katib.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proa.client.protocol import Client, Object
from proa.ml.tuning.kinds import CONFIG, NAMESPACE
from proa.objects.errors import NotFound
from proa.objects.quick_dataclass import dataclass
from proa.objects.resource import CONFIG_MAPS

KEY = "katib-config.yaml"
MAX_BYTES = 256 * 1024
_CLAIM: Object = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "5Gi"}}}


class BadConfig(Exception):
    """The ConfigMap is not what it should be."""


@dataclass(frozen=True, slots=True)
class KatibConfig:
    """The part `runtime` of the configuration."""

    runtime: Mapping[str, Any]

    def collector_resources(self, kind: str) -> Object:
        """Return the resources of a kind of collector."""
        return self._find("metricsCollectors", "kind", kind, "resources") or {}

    def claim_spec(self, algorithm: str) -> Object:
        """Return the spec of the claim that an algorithm shares with its trials."""
        return self._find("suggestions", "algorithmName", algorithm, "persistentVolumeClaimSpec") or _CLAIM

    def _find(self, part: str, key: str, name: str, *fields: str) -> Object | None:
        entries = self.runtime.get(part)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get(key) == name:
                return next((entry[f] for f in fields if isinstance(entry.get(f), dict)), None)
        return None


async def read_config(client: Client) -> KatibConfig:
    """Return what the ConfigMap says, nothing where there is none; raise BadConfig."""
    try:
        found = await client.get(CONFIG_MAPS, CONFIG, NAMESPACE)
    except NotFound:
        return KatibConfig({})
    return parse((found.get("data") or {}).get(KEY) or "")


def parse(text: str) -> KatibConfig:
    """Return what the ConfigMap's text says; raise BadConfig."""
    import yaml

    if len(text) > MAX_BYTES:
        raise BadConfig(f"ConfigMap {NAMESPACE}/{CONFIG}: {KEY} has more than {MAX_BYTES} bytes")
    try:
        config = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise BadConfig(f"ConfigMap {NAMESPACE}/{CONFIG}: {KEY} is no YAML: {error}") from error
    runtime = config.get("runtime") if isinstance(config, dict) else None
    return KatibConfig(runtime if isinstance(runtime, dict) else {})
